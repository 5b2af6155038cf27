// A file that arrives in chunks: each is verified the moment it is whole, a bad one is dropped and
// comes again, and what a former process left is verified before anything is added to it.
import { createHash, type Hash } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import type { ChunkPlan } from "./chunks.ts";

export type Written =
  | { readonly kind: "ok" }
  /** The chunk of this number hashed to something else; `offset` is its start again. */
  | { readonly kind: "bad-chunk"; readonly chunk: number };

export class ChunkedFile {
  readonly path: string;
  readonly #file: FileHandle;
  readonly #plan: ChunkPlan;
  /** Of the verified chunks. */
  #whole: Hash = createHash("sha256");
  #wholeWithChunk: Hash = createHash("sha256");
  #chunk: Hash = createHash("sha256");
  #offset = 0;

  private constructor(path: string, file: FileHandle, plan: ChunkPlan) {
    this.path = path;
    this.#file = file;
    this.#plan = plan;
  }

  /** Opens or creates a file, and cuts off whatever in it isn't what the plan says. */
  static async open(path: string, plan: ChunkPlan): Promise<ChunkedFile> {
    const file = await open(path, "a+", 0o600);
    const chunked = new ChunkedFile(path, file, plan);
    try {
      await chunked.#readBack();
      return chunked;
    } catch (thrown) {
      await file.close();
      throw thrown;
    }
  }

  /** Bytes that are here; the next write goes there. */
  get offset(): number {
    return this.#offset;
  }

  get isWhole(): boolean {
    return this.#offset === this.#plan.total;
  }

  /** Lower-case hex SHA-256 of the verified chunks. */
  digest(): string {
    return this.#whole.copy().digest("hex");
  }

  /** Appends bytes; those after a bad chunk are dropped. Requires that they fit into the file. */
  async write(bytes: Uint8Array): Promise<Written> {
    for (let done = 0; done < bytes.length; ) {
      const piece = bytes.subarray(done, done + this.#chunkEnd() - this.#offset);
      for (let at = 0; at < piece.length; ) {
        at += (await this.#file.write(piece, at)).bytesWritten;
      }
      const bad = this.#take(piece);
      if (bad !== null) {
        await this.#file.truncate(this.#offset);
        return { kind: "bad-chunk", chunk: bad };
      }
      done += piece.length;
    }
    return { kind: "ok" };
  }

  async sync(): Promise<void> {
    await this.#file.sync();
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  /** Takes stock of a file that is there already. */
  async #readBack(): Promise<void> {
    const buffer = Buffer.alloc(Math.min(this.#plan.chunkBytes, this.#plan.total));
    for (let isMore = true; isMore && !this.isWhole; ) {
      const length = this.#chunkEnd() - this.#offset;
      const { bytesRead } = await this.#file.read(buffer, 0, length, this.#offset);
      isMore = bytesRead > 0 && this.#take(buffer.subarray(0, bytesRead)) === null;
    }
    await this.#file.truncate(this.#offset);
  }

  /** Notes bytes of the current chunk that are in the file; its number if they make it bad. */
  #take(piece: Uint8Array): number | null {
    this.#chunk.update(piece);
    this.#wholeWithChunk.update(piece);
    const end = this.#chunkEnd();
    const chunk = Math.floor(this.#offset / this.#plan.chunkBytes);
    this.#offset += piece.length;
    if (this.#offset < end) return null;
    const isGood = this.#chunk.digest().equals(this.#plan.hashes[chunk]!);
    this.#chunk = createHash("sha256");
    if (isGood) this.#whole = this.#wholeWithChunk.copy();
    else {
      this.#wholeWithChunk = this.#whole.copy();
      this.#offset = chunk * this.#plan.chunkBytes;
    }
    return isGood ? null : chunk;
  }

  #chunkEnd(): number {
    const { chunkBytes, total } = this.#plan;
    return Math.min(total, (Math.floor(this.#offset / chunkBytes) + 1) * chunkBytes);
  }
}
