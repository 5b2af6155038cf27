// A log on disk that can't outgrow its bound: when full, it becomes `<path>.1` and starts anew.
import { closeSync, fstatSync, mkdirSync, openSync, renameSync, writeSync } from "node:fs";
import { dirname } from "node:path";

/** With the one older file that is kept, a process's logs take at most twice this. */
const FILE_MAX_BYTES = 8 << 20;

export class LogFile {
  readonly #path: string;
  readonly #maxBytes: number;
  #file: number;
  #bytes: number;

  constructor(path: string, maxBytes: number = FILE_MAX_BYTES) {
    mkdirSync(dirname(path), { recursive: true });
    this.#path = path;
    this.#maxBytes = maxBytes;
    this.#file = openSync(path, "a");
    this.#bytes = fstatSync(this.#file).size;
  }

  write(chunk: Uint8Array): void {
    if (this.#bytes > 0 && this.#bytes + chunk.length > this.#maxBytes) {
      closeSync(this.#file);
      renameSync(this.#path, `${this.#path}.1`);
      this.#file = openSync(this.#path, "a");
      this.#bytes = 0;
    }
    writeSync(this.#file, chunk);
    this.#bytes += chunk.length;
  }

  close(): void {
    closeSync(this.#file);
  }
}
