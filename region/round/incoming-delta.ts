// One edge's delta on its way to the disk: pieces resume where they stopped, a newer piece takes
// the place of one whose client is gone, each chunk is verified as it comes, and what is whole is
// durable.
import { rm } from "node:fs/promises";
import { Fault } from "../../proto/fault.ts";
import type { DeltaManifest } from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import { type Sha256, sha256 } from "../../proto/ids.ts";
import type { ArtifactStore } from "../../sync/artifact/artifact-store.ts";
import type { ContentRange } from "../../sync/artifact/byte-range.ts";
import { ChunkedFile } from "../../sync/delta/chunked-file.ts";
import { chunksOfManifest } from "../../sync/delta/chunks.ts";

export type Reception =
  /** All bytes are here, hash to what they should, and are on disk. */
  | { readonly kind: "whole" }
  /** Every chunk is what it should be, but not the whole; it is dropped. */
  | { readonly kind: "corrupt" }
  /** A chunk hashed to something else and was dropped; `received` is its start. */
  | { readonly kind: "bad-chunk"; readonly chunk: number; readonly received: number }
  | { readonly kind: "partial"; readonly received: number }
  /** The piece starts elsewhere than at `received`. */
  | { readonly kind: "misplaced"; readonly received: number };

/** A piece on its way in. */
interface Piece {
  readonly abort: AbortController;
  readonly done: Promise<void>;
}

export class IncomingDelta {
  readonly manifest: DeltaManifest;
  readonly sha256: Sha256;
  readonly total: number;
  readonly #store: ArtifactStore;
  readonly #path: string;
  #piece: Piece | null = null;
  #file: Promise<ChunkedFile> | null = null;

  /**
   * Requires a manifest that passed its screening, and a path that is nobody else's, on the disk
   * of the store.
   */
  constructor(manifest: DeltaManifest, store: ArtifactStore, path: string) {
    this.manifest = manifest;
    this.sha256 = sha256(manifest.delta!.sha256);
    this.total = Number(manifest.delta!.bytes);
    this.#store = store;
    this.#path = path;
  }

  get isWhole(): boolean {
    return this.#store.has(this.sha256);
  }

  /** Bytes that are here; the next piece starts there. */
  async received(): Promise<number> {
    return this.isWhole ? this.total : (await this.#open()).offset;
  }

  /** Ends the piece on its way, so that a client that lost its connection can go on. */
  async interrupt(): Promise<void> {
    while (this.#piece) {
      this.#piece.abort.abort();
      await this.#piece.done;
    }
  }

  /** Ends the piece on its way and lets go of the file; what is in it stays. */
  async close(): Promise<void> {
    await this.interrupt();
    const file = this.#file;
    this.#file = null;
    await (await file)?.close();
  }

  /** Takes a piece. Faults: `invalid-argument` when it isn't what its range says. */
  async receive(
    { range, total }: ContentRange,
    body: ReadableStream<Uint8Array> | null,
  ): Promise<Reception> {
    if (total !== this.total) {
      const param = "content-range";
      throw new Fault("invalid-argument", `the manifest says ${this.total} bytes`, { param });
    }
    const before = this.#piece;
    const { promise: done, resolve } = Promise.withResolvers<void>();
    const piece: Piece = { abort: new AbortController(), done };
    // In the same breath as the look at its predecessor: pieces queue up, they never overlap.
    this.#piece = piece;
    before?.abort.abort();
    await before?.done;
    try {
      if (this.isWhole) return { kind: "whole" };
      return await this.#write(range, body, piece.abort.signal);
    } finally {
      if (this.#piece === piece) this.#piece = null;
      resolve();
    }
  }

  async #write(
    range: ContentRange["range"],
    body: ReadableStream<Uint8Array> | null,
    signal: AbortSignal,
  ): Promise<Reception> {
    const file = await this.#open();
    if (range && range.start !== file.offset) return { kind: "misplaced", received: file.offset };
    const bad = await pour(body, file, range ? range.end + 1 : file.offset, signal);
    if (bad !== null) return { kind: "bad-chunk", chunk: bad, received: file.offset };
    if (!file.isWhole) return { kind: "partial", received: file.offset };
    this.#file = null;
    return await this.#finish(file);
  }

  async #finish(file: ChunkedFile): Promise<Reception> {
    const isSound = file.digest() === this.sha256;
    await file.sync().finally(() => file.close());
    if (isSound) await this.#store.adopt(this.sha256, this.total, this.#path);
    else await rm(this.#path);
    return { kind: isSound ? "whole" : "corrupt" };
  }

  #open(): Promise<ChunkedFile> {
    this.#file ??= ChunkedFile.open(this.#path, chunksOfManifest(this.manifest));
    return this.#file;
  }
}

/**
 * Writes the body until it ends; what arrived stays, even when the client goes away. Resolves with
 * the number of a bad chunk, after which nothing more is taken.
 */
async function pour(
  body: ReadableStream<Uint8Array> | null,
  file: ChunkedFile,
  end: number,
  signal: AbortSignal,
): Promise<number | null> {
  if (!body) return null;
  const reader = body.getReader();
  const cancel = () => void reader.cancel().catch(() => {});
  signal.addEventListener("abort", cancel, { once: true });
  if (signal.aborted) cancel();
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) {
      if (file.offset + next.value.length > end) {
        throw new Fault("invalid-argument", `the body goes on past byte ${end}`);
      }
      const written = await file.write(next.value);
      if (written.kind === "bad-chunk") return written.chunk;
    }
    return null;
  } finally {
    signal.removeEventListener("abort", cancel);
    cancel();
  }
}
