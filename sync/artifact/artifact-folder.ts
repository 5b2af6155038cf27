// What lies in the folders of an artifact store, read from the disk.
import { type Dirent, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { type Sha256, sha256Pattern } from "../../proto/ids.ts";

/** Unfinished files kept for resumption; the oldest beyond these are dropped at start. */
const PARTIALS_MAX = 64;
const objectPattern = /^([0-9a-f]{64})-(\d{1,15})$/;

export interface WholeObject {
  readonly sha256: Sha256;
  readonly bytes: number;
}

/** All whole objects, oldest arrival first; whatever isn't whole is removed. */
export function wholeObjects(dir: string): readonly WholeObject[] {
  const whole: (WholeObject & { readonly arrivedMs: number })[] = [];
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    const found = readObject(dir, entry);
    if (found === undefined) rmSync(join(dir, entry.name), { recursive: true, force: true });
    else whole.push(found);
  }
  return whole.sort((a, b) => a.arrivedMs - b.arrivedMs);
}

/** Bytes that an object has by its name; undefined when there is none. */
export function sizeOfObject(dir: string, sha256: Sha256): number | undefined {
  const name = readdirSync(dir).find((entry) => entry.startsWith(`${sha256}-`));
  const bytes = objectPattern.exec(name ?? "")?.[2];
  return bytes === undefined ? undefined : Number(bytes);
}

/** Keeps the newest of the files on their way. */
export function dropOldPartials(dir: string): void {
  const partials = readdirSync(dir)
    .map((name) => ({ name, changedMs: statSync(join(dir, name)).mtimeMs }))
    .sort((a, b) => b.changedMs - a.changedMs);
  for (const [rank, { name }] of partials.entries()) {
    if (rank < PARTIALS_MAX && sha256Pattern.test(name)) continue;
    rmSync(join(dir, name), { recursive: true, force: true });
  }
}

function readObject(dir: string, entry: Dirent) {
  const match = entry.isFile() ? objectPattern.exec(entry.name) : null;
  if (match === null) return undefined;
  const stat = statSync(join(dir, entry.name), { throwIfNoEntry: false });
  if (stat === undefined || stat.size !== Number(match[2])) return undefined;
  return { sha256: match[1] as Sha256, bytes: stat.size, arrivedMs: stat.mtimeMs };
}
