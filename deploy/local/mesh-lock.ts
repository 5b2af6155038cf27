// One mesh per folder: a lock file that names its holder and outlives no crash, since a holder that
// is gone, or another process with its pid, doesn't count.
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { processStart } from "./process-identity.ts";
import { MeshRefused } from "./usage-error.ts";

const ATTEMPTS_MAX = 5;

interface Holder {
  readonly pid: number;
  readonly start: string | undefined;
}

export interface MeshLock {
  /** Whether an earlier mesh held this folder and died without letting go. */
  readonly wasStale: boolean;
  release(): void;
}

/** Takes the folder. Faults: MeshRefused when a mesh runs in it. */
export function lockMeshDir(dir: string): MeshLock {
  mkdirSync(dir, { recursive: true });
  const path = join(dir, "mesh.lock");
  const own = join(dir, `mesh.lock.${process.pid}`);
  const holder: Holder = { pid: process.pid, start: processStart(process.pid) };
  writeFileSync(own, JSON.stringify(holder));
  let wasStale = false;
  try {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      if (tryLink(own, path)) return { wasStale, release: () => rmSync(path, { force: true }) };
      const other = readHolder(path);
      if (other?.start !== undefined && processStart(other.pid) === other.start) {
        throw new MeshRefused(
          `a mesh already runs in ${dir} (pid ${other.pid}): stop it, or choose another --dir`,
        );
      }
      wasStale = true;
      renameSync(path, `${own}.stale`);
      rmSync(`${own}.stale`);
    }
  } finally {
    rmSync(own, { force: true });
  }
  throw new MeshRefused(`the lock ${path} changes hands too quickly: try again`);
}

/** Linking is the atomic step: of two processes, one finds the name taken. */
function tryLink(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EEXIST") return false;
    throw error;
  }
}

function readHolder(path: string): Holder | undefined {
  try {
    return JSON.parse(readFileSync(path, "utf8")) as Holder;
  } catch {
    return undefined; // half a file or none holds nothing
  }
}
