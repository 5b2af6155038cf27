// Takes a file made here, whatever its size, into a store: hashed piece by piece, synced, moved.
import { open, rm } from "node:fs/promises";
import type { WholeObject } from "./artifact-folder.ts";
import type { ArtifactStore } from "./artifact-store.ts";
import { hashFile } from "./artifact-upload.ts";

/**
 * Moves a file into the store under the hash of its bytes; afterwards nothing is at `path`.
 * Requires a file on the store's disk that nobody writes to any more.
 * Faults: `payload-too-large`.
 */
export async function adoptFile(store: ArtifactStore, path: string): Promise<WholeObject> {
  const { sha256, bytes } = await hashFile(path);
  if (store.has(sha256)) {
    await rm(path);
  } else {
    await using file = await open(path);
    await file.sync();
    await store.adopt(sha256, bytes, path);
  }
  return { sha256, bytes };
}
