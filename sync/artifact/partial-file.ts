// A file on its way into the store: appended to, hashed as it grows, and resumed after a crash by
// hashing what is already there.
import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";

export class PartialFile {
  readonly path: string;
  readonly #file: FileHandle;
  #hash: Hash;
  #offset: number;

  private constructor(path: string, file: FileHandle, hash: Hash, offset: number) {
    this.path = path;
    this.#file = file;
    this.#hash = hash;
    this.#offset = offset;
  }

  static async open(path: string): Promise<PartialFile> {
    const file = await open(path, "a");
    try {
      const hash = createHash("sha256");
      let offset = 0;
      for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
        hash.update(chunk);
        offset += chunk.length;
      }
      return new PartialFile(path, file, hash, offset);
    } catch (thrown) {
      await file.close();
      throw thrown;
    }
  }

  /** Bytes that are there; the next write goes here. */
  get offset(): number {
    return this.#offset;
  }

  async write(chunk: Uint8Array): Promise<void> {
    let written = 0;
    while (written < chunk.length) {
      const rest = chunk.subarray(written);
      const { bytesWritten } = await this.#file.write(rest);
      this.#hash.update(rest.subarray(0, bytesWritten));
      this.#offset += bytesWritten;
      written += bytesWritten;
    }
  }

  /** Starts again from nothing. */
  async truncate(): Promise<void> {
    await this.#file.truncate(0);
    this.#hash = createHash("sha256");
    this.#offset = 0;
  }

  /** Lower-case hex SHA-256 of what is there. */
  digest(): string {
    return this.#hash.copy().digest("hex");
  }

  async sync(): Promise<void> {
    await this.#file.sync();
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}
