// A delta in chunks: the manifest states a hash for each, so that what arrives is verified as it
// comes, and a bad byte costs one chunk.
import { createHash } from "node:crypto";
import type { DeltaManifest } from "../../proto/gen/isthmus/v1/rounds_pb.ts";

const HASH_BYTES = 32;
const CHUNK_BYTES_MIN = 64 << 10;
/** Keeps a manifest far below what a region takes. */
export const CHUNKS_MAX = 512;

/** How a file of some size is cut: every chunk has `chunkBytes` but the last. */
export interface ChunkPlan {
  readonly total: number;
  readonly chunkBytes: number;
  /** SHA-256 of each chunk, in order. */
  readonly hashes: readonly Uint8Array[];
}

/** Plans the chunks of a file's bytes, of a power of two each. */
export function planChunks(bytes: Uint8Array): ChunkPlan {
  let chunkBytes = CHUNK_BYTES_MIN;
  while (chunkBytes * CHUNKS_MAX < bytes.length) chunkBytes *= 2;
  return cutChunks(bytes, chunkBytes);
}

/** Plans chunks of a given size. */
export function cutChunks(bytes: Uint8Array, chunkBytes: number): ChunkPlan {
  const hashes: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += chunkBytes) {
    hashes.push(hashOfChunk(bytes.subarray(at, at + chunkBytes)));
  }
  return { total: bytes.length, chunkBytes, hashes };
}

export function hashOfChunk(bytes: Uint8Array): Uint8Array {
  return Uint8Array.from(createHash("sha256").update(bytes).digest());
}

/** The plan that a manifest states. Requires one without `faultOfChunks`. */
export function chunksOfManifest(manifest: DeltaManifest): ChunkPlan {
  const { chunkBytes, chunkSha256 } = manifest;
  return { total: Number(manifest.delta!.bytes), chunkBytes, hashes: chunkSha256 };
}

/** What is wrong with the chunks that a manifest states; null when nothing is. */
export function faultOfChunks({ delta, chunkBytes, chunkSha256 }: DeltaManifest): string | null {
  if (chunkBytes < 1) return "no chunks to verify the bytes by";
  const count = Math.ceil(Number(delta?.bytes ?? 0) / chunkBytes);
  if (count > CHUNKS_MAX) return `${count} chunks, more than ${CHUNKS_MAX}`;
  if (chunkSha256.length !== count) return `${chunkSha256.length} hashes for ${count} chunks`;
  return chunkSha256.every(({ length }) => length === HASH_BYTES) ? null : "a hash of no SHA-256";
}
