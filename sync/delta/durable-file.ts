// Files that are whole and on disk once the call returns, whatever is killed in between.
import {
  closeSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";

const OWNER_ONLY = 0o600;

/** Makes a folder's entries durable: a new or renamed file survives a power cut only after this. */
export function syncFolder(dir: string): void {
  const fd = openSync(dir, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Makes a folder and those above it that are missing, durably. */
export function makeFolder(dir: string): void {
  const first = mkdirSync(dir, { recursive: true });
  if (first === undefined) return;
  const top = dirname(first);
  for (let at = dir; at !== top; at = dirname(at)) syncFolder(dirname(at));
}

/** Writes every byte at the descriptor's position and makes them durable. */
export function writeAndSync(fd: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done);
  fsyncSync(fd);
}

/** Replaces a file, readable by its owner only: a reader sees the old one or the new one, whole. */
export function replaceFile(path: string, bytes: Uint8Array): void {
  const temporary = writeTemporary(path, bytes);
  renameSync(temporary, path);
  syncFolder(dirname(path));
}

/** Creates a file that isn't there yet; false when somebody was first. */
export function createFile(path: string, bytes: Uint8Array): boolean {
  const temporary = writeTemporary(path, bytes);
  try {
    linkSync(temporary, path);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== "EEXIST") throw thrown;
    return false;
  } finally {
    rmSync(temporary, { force: true });
  }
  syncFolder(dirname(path));
  return true;
}

function writeTemporary(path: string, bytes: Uint8Array): string {
  const temporary = `${path}.${process.pid}.new`;
  const fd = openSync(temporary, "w", OWNER_ONLY);
  try {
    writeAndSync(fd, bytes);
  } finally {
    closeSync(fd);
  }
  return temporary;
}
