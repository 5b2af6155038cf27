// One edge's delta on its way to the disk: pieces resume where they stopped, a newer piece takes
// the place of one whose client is gone, and what is whole is verified and durable.
import { Fault } from "../../proto/fault.ts";
import type { DeltaManifest } from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import { type Sha256, sha256 } from "../../proto/ids.ts";
import type { ArtifactStore, ArtifactWriter } from "../../sync/artifact/artifact-store.ts";
import type { ContentRange } from "../../sync/artifact/byte-range.ts";

export type Reception =
  /** All bytes are here, hash to what they should, and are on disk. */
  | { readonly kind: "whole" }
  /** The bytes hash to something else; they are dropped. */
  | { readonly kind: "corrupt" }
  | { readonly kind: "partial"; readonly received: number }
  /** The piece starts elsewhere than at `received`. */
  | { readonly kind: "misplaced"; readonly received: number };

/** A piece on its way in. */
interface Piece {
  readonly abort: AbortController;
  readonly done: Promise<void>;
  writer: ArtifactWriter | null;
}

export class IncomingDelta {
  readonly manifest: DeltaManifest;
  readonly sha256: Sha256;
  readonly total: number;
  readonly #store: ArtifactStore;
  #piece: Piece | null = null;

  /** Requires a manifest that passed its screening. */
  constructor(manifest: DeltaManifest, store: ArtifactStore) {
    this.manifest = manifest;
    this.sha256 = sha256(manifest.delta!.sha256);
    this.total = Number(manifest.delta!.bytes);
    this.#store = store;
  }

  get isWhole(): boolean {
    return this.#store.has(this.sha256);
  }

  /** Bytes that are here; the next piece starts there. */
  async received(): Promise<number> {
    if (this.isWhole) return this.total;
    if (this.#piece) return this.#piece.writer?.offset ?? 0;
    const writer = await this.#store.write(this.sha256, this.total);
    const { offset } = writer;
    await writer.close();
    return offset;
  }

  /** Ends the piece on its way, so that a client that lost its connection can go on. */
  async interrupt(): Promise<void> {
    while (this.#piece) {
      this.#piece.abort.abort();
      await this.#piece.done;
    }
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
    const piece: Piece = { abort: new AbortController(), done, writer: null };
    // In the same breath as the look at its predecessor: pieces queue up, they never overlap.
    this.#piece = piece;
    before?.abort.abort();
    await before?.done;
    try {
      if (this.isWhole) return { kind: "whole" };
      return await this.#write(range, body, piece);
    } finally {
      if (this.#piece === piece) this.#piece = null;
      resolve();
    }
  }

  async #write(
    range: ContentRange["range"],
    body: ReadableStream<Uint8Array> | null,
    piece: Piece,
  ): Promise<Reception> {
    const writer = await this.#store.write(this.sha256, this.total);
    piece.writer = writer;
    let isOpen = true;
    try {
      if (range && range.start !== writer.offset) {
        return { kind: "misplaced", received: writer.offset };
      }
      await pour(body, writer, range ? range.end + 1 : writer.offset, piece.abort.signal);
      if (writer.offset < this.total) return { kind: "partial", received: writer.offset };
      isOpen = false;
      if (writer.matches()) {
        await writer.commit();
        return { kind: "whole" };
      }
      await writer.discard();
      return { kind: "corrupt" };
    } finally {
      if (isOpen) await writer.close();
    }
  }
}

/** Writes the body until it ends; what arrived stays, even when the client goes away. */
async function pour(
  body: ReadableStream<Uint8Array> | null,
  writer: ArtifactWriter,
  end: number,
  signal: AbortSignal,
): Promise<void> {
  if (!body) return;
  const reader = body.getReader();
  const cancel = () => void reader.cancel().catch(() => {});
  signal.addEventListener("abort", cancel, { once: true });
  if (signal.aborted) cancel();
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) {
      if (writer.offset + next.value.length > end) {
        throw new Fault("invalid-argument", `the body goes on past byte ${end}`);
      }
      await writer.write(next.value);
    }
  } finally {
    signal.removeEventListener("abort", cancel);
    cancel();
  }
}
