// A claim on a folder that several processes share: a file named after its number. Whoever claims
// takes the next number and removes the earlier files before it reads anything else there. So a
// process that still finds its own file after it has written knows that its successor will read
// what it wrote, whatever became of the lease, of anybody's clock or of the process meanwhile.
import { closeSync, existsSync, openSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { makeFolder, syncFolder, writeAndSync } from "../../sync/delta/durable-file.ts";

const numberPattern = /^[1-9]\d{0,14}$/;
/** Claims that others made at the same moment before this one gives up. */
const ATTEMPTS_MAX = 64;

export interface FolderClaim {
  /** One more than that of whoever claimed before. */
  readonly number: number;
  isHeld(): boolean;
}

/** Claims the folder, durably; whoever had it before has it no longer. */
export function claimFolder(dir: string, owner: string): FolderClaim {
  makeFolder(dir);
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
    const former = numbersIn(dir);
    const number = Math.max(0, ...former) + 1;
    const path = join(dir, String(number));
    if (!createAlone(path, owner)) continue;
    for (const old of former) rmSync(join(dir, String(old)), { force: true });
    syncFolder(dir);
    // Others may have claimed between the look and the file, and have removed this number already.
    if (Math.max(...numbersIn(dir), number) > number) rmSync(path, { force: true });
    else return { number, isHeld: () => existsSync(path) };
  }
  throw new Error(`${dir} is claimed by others again and again`);
}

/** False when somebody was first. */
function createAlone(path: string, owner: string): boolean {
  try {
    const fd = openSync(path, "wx", 0o600);
    try {
      writeAndSync(fd, new TextEncoder().encode(`${owner}\n`));
    } finally {
      closeSync(fd);
    }
    return true;
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== "EEXIST") throw thrown;
    return false;
  }
}

function numbersIn(dir: string): readonly number[] {
  return readdirSync(dir)
    .filter((name) => numberPattern.test(name))
    .map(Number);
}
