// Where programs that npm doesn't carry are looked for, and kept once they were fetched.
import { constants } from "node:fs";
import { access, mkdir } from "node:fs/promises";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";

/** Where distributions install servers; often absent from an ordinary user's PATH. */
const SYSTEM_FOLDERS = ["/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin"];

/** The folders of `searchPath`, in PATH's form; of PATH and the system's own by default. */
export function searchFolders(searchPath: string | undefined): string[] {
  if (searchPath !== undefined) return searchPath.split(delimiter).filter((path) => path !== "");
  const path = (process.env.PATH ?? "").split(delimiter).filter((folder) => folder !== "");
  return [...path, ...SYSTEM_FOLDERS];
}

/** Shared by all clones of one user. */
export function defaultCacheDir(): string {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "isthmus", "bin");
}

/** Whether the folder is there, or can be made, and takes files. */
export async function isWritable(dir: string): Promise<boolean> {
  try {
    await mkdir(dir, { recursive: true });
    await access(dir, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
