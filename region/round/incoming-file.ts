// The file that a delta on its way is written into. Each epoch of a region's rounds has its own: a
// process that had the rounds before, and wakes up late, must not add to what its successor writes.
import { copyFile, readdir, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

/** The file of this epoch; it begins with what an earlier one has brought here. */
export async function incomingFile(path: string, epoch: number): Promise<string> {
  if (epoch === 0) return path;
  const own = `${path}.${epoch}`;
  const name = basename(path);
  const files = (await readdir(dirname(path))).filter((entry) => entry.startsWith(name));
  if (files.includes(basename(own))) return own;
  const former = files.sort((a, b) => epochOf(a) - epochOf(b)).at(-1);
  if (former === undefined) return own;
  // What is torn or wrong in it is cut off when it is opened.
  await copyFile(join(dirname(path), former), own);
  for (const file of files) await rm(join(dirname(path), file), { force: true });
  return own;
}

function epochOf(file: string): number {
  return Number(/\.(\d+)$/.exec(file)?.[1] ?? 0);
}
