// An append-only log of JSON records that survives kill -9 and power cuts: what was appended is on
// disk once `append` resolves, and a record torn by a crash is cut off when the log is opened.
//
// A record is its length and its CRC-32 (both u32, little-endian), then the JSON in UTF-8.
import { closeSync, fsyncSync, ftruncateSync, openSync, readFileSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { dirname } from "node:path";
import { crc32 } from "node:zlib";
import { Fault } from "../../proto/fault.ts";
import { makeFolder, syncFolder } from "../../sync/delta/durable-file.ts";

const HEAD_BYTES = 8;
/** A record beyond this was never written by us: the log is torn there. */
const RECORD_BYTES_MAX = 4 << 20;

export class EventLog {
  readonly #file: FileHandle;
  #tail: Promise<void> = Promise.resolve();
  #broken = false;

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  /** Opens or creates a log; `records` are all that it holds, in order. */
  static async open(path: string): Promise<{ log: EventLog; records: readonly unknown[] }> {
    makeFolder(dirname(path));
    const fd = openSync(path, "a+", 0o600);
    let records: readonly unknown[];
    try {
      const bytes = readFileSync(path);
      const { read, wholeBytes } = readRecords(bytes);
      records = read;
      if (wholeBytes < bytes.length) ftruncateSync(fd, wholeBytes);
      fsyncSync(fd);
      syncFolder(dirname(path));
    } finally {
      closeSync(fd);
    }
    return { log: new EventLog(await open(path, "a")), records };
  }

  /**
   * Appends records as one write. Faults: `internal` when the disk refuses; the log takes nothing
   * more then, because nobody can say what of it is on disk.
   */
  append(records: readonly unknown[]): Promise<void> {
    const done = this.#tail.then(() => this.#write(records));
    this.#tail = done.catch(() => {});
    return done;
  }

  async close(): Promise<void> {
    await this.#tail;
    await this.#file.close();
  }

  async #write(records: readonly unknown[]): Promise<void> {
    if (this.#broken) throw new Fault("internal", "the round's log is broken; restart the region");
    const bytes = Buffer.concat(records.map(encodeRecord));
    try {
      for (let done = 0; done < bytes.length; ) {
        done += (await this.#file.write(bytes, done)).bytesWritten;
      }
      await this.#file.datasync();
    } catch (cause) {
      this.#broken = true;
      throw new Fault("internal", "the round's log can't be written", { cause });
    }
  }
}

function encodeRecord(record: unknown): Buffer {
  const json = Buffer.from(JSON.stringify(record), "utf8");
  if (json.length > RECORD_BYTES_MAX) throw new RangeError(`a record of ${json.length} bytes`);
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt32LE(json.length, 0);
  head.writeUInt32LE(crc32(json), 4);
  return Buffer.concat([head, json]);
}

/** All whole records from the start, and how many bytes they take. */
function readRecords(bytes: Buffer): { read: unknown[]; wholeBytes: number } {
  const read: unknown[] = [];
  let at = 0;
  while (at + HEAD_BYTES <= bytes.length) {
    const length = bytes.readUInt32LE(at);
    const end = at + HEAD_BYTES + length;
    if (length > RECORD_BYTES_MAX || end > bytes.length) break;
    const json = bytes.subarray(at + HEAD_BYTES, end);
    if (crc32(json) !== bytes.readUInt32LE(at + 4)) break;
    read.push(JSON.parse(json.toString("utf8")));
    at = end;
  }
  return { read, wholeBytes: at };
}
