// An append-only log of JSON records that survives kill -9 and power cuts: what was appended is on
// disk once `append` resolves, and a record torn by a crash is cut off when the log is opened.
//
// A record is its length and its CRC-32 (both u32, little-endian), then the JSON in UTF-8.
//
// Whoever has the region's duties writes a file of its own, named after its epoch: with the first
// record that it appends it takes over what was there. So a process that had the duties before it,
// and wakes up late, writes into a file that nobody reads any more.
import {
  closeSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
} from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { crc32 } from "node:zlib";
import { Fault } from "../../proto/fault.ts";
import { makeFolder, syncFolder, writeAndSync } from "../../sync/delta/durable-file.ts";
import { type Fence, noFence } from "../lease/fence.ts";

const HEAD_BYTES = 8;
/** A record beyond this was never written by us: the log is torn there. */
const RECORD_BYTES_MAX = 4 << 20;
const epochPattern = /^\.([1-9]\d{0,14})$/;

export class EventLog {
  readonly #path: string;
  readonly #fence: Fence;
  /** Null until something is appended to what an earlier epoch has left. */
  #file: FileHandle | null;
  /** What to take over with the first record: a file and how much of it is whole. */
  readonly #former: Former | null;
  #tail: Promise<void> = Promise.resolve();
  #broken = false;

  private constructor(path: string, fence: Fence, file: FileHandle | null, former: Former | null) {
    this.#path = path;
    this.#fence = fence;
    this.#file = file;
    this.#former = former;
  }

  /**
   * Opens or creates a log; `records` are all that it holds, in order.
   * Faults: `unavailable` when another process has taken it over.
   */
  static async open(
    path: string,
    fence: Fence = noFence,
  ): Promise<{ log: EventLog; records: readonly unknown[] }> {
    makeFolder(dirname(path));
    const latest = latestFile(path);
    if (latest !== null && latest.epoch > fence.epoch) throw takenOver();
    if (latest !== null && latest.epoch < fence.epoch) {
      const { read, wholeBytes } = readRecords(readFileSync(latest.path));
      const former = { path: latest.path, wholeBytes };
      return { log: new EventLog(path, fence, null, former), records: read };
    }
    const own = fileOf(path, fence.epoch);
    const records = openWhole(own);
    return { log: new EventLog(path, fence, await open(own, "a"), null), records };
  }

  /**
   * Appends records as one write. Faults: `internal` when the disk refuses; the log takes nothing
   * more then, because nobody can say what of it is on disk. `unavailable` when another process may
   * have the duties by now: what was to be written may stand or not.
   */
  append(records: readonly unknown[]): Promise<void> {
    const done = this.#tail.then(() => this.#write(records));
    this.#tail = done.catch(() => {});
    return done;
  }

  async close(): Promise<void> {
    await this.#tail;
    await this.#file?.close();
  }

  async #write(records: readonly unknown[]): Promise<void> {
    if (this.#broken) throw new Fault("internal", "the round's log is broken; restart the region");
    this.#fence.assertHeld();
    const bytes = Buffer.concat(records.map(encodeRecord));
    try {
      this.#file ??= await open(this.#takeOver(), "a");
      for (let done = 0; done < bytes.length; ) {
        done += (await this.#file.write(bytes, done)).bytesWritten;
      }
      await this.#file.datasync();
    } catch (cause) {
      this.#broken = true;
      throw new Fault("internal", "the round's log can't be written", { cause });
    }
    // Held still: then whoever comes next reads what was just written.
    this.#fence.assertHeld();
  }

  /** Begins the file of this epoch with what the earlier one holds; removes the earlier ones. */
  #takeOver(): string {
    const own = fileOf(this.#path, this.#fence.epoch);
    if (this.#former === null) return own;
    const aside = `${own}.new`;
    const fd = openSync(aside, "w", 0o600);
    try {
      writeAndSync(fd, readFileSync(this.#former.path).subarray(0, this.#former.wholeBytes));
    } finally {
      closeSync(fd);
    }
    renameSync(aside, own);
    syncFolder(dirname(own));
    for (const { epoch, path } of filesOf(this.#path)) {
      if (epoch < this.#fence.epoch) rmSync(path, { force: true });
    }
    return own;
  }
}

interface Former {
  readonly path: string;
  readonly wholeBytes: number;
}

interface EpochFile {
  readonly path: string;
  readonly epoch: number;
}

function fileOf(path: string, epoch: number): string {
  return epoch === 0 ? path : `${path}.${epoch}`;
}

function filesOf(path: string): readonly EpochFile[] {
  const name = basename(path);
  return readdirSync(dirname(path)).flatMap((entry) => {
    if (!entry.startsWith(name)) return [];
    const suffix = entry.slice(name.length);
    const epoch = suffix === "" ? 0 : Number(epochPattern.exec(suffix)?.[1] ?? Number.NaN);
    return Number.isNaN(epoch) ? [] : [{ path: join(dirname(path), entry), epoch }];
  });
}

function latestFile(path: string): EpochFile | null {
  return filesOf(path).reduce<EpochFile | null>(
    (latest, file) => (latest === null || file.epoch > latest.epoch ? file : latest),
    null,
  );
}

function takenOver(): Fault {
  const why = "another instance of the region has its rounds";
  return new Fault("unavailable", why, { retryAfterMs: 1000 });
}

/** Creates the file if need be, cuts off what is torn, and returns its records. */
function openWhole(path: string): readonly unknown[] {
  const fd = openSync(path, "a+", 0o600);
  try {
    const bytes = readFileSync(path);
    const { read, wholeBytes } = readRecords(bytes);
    if (wholeBytes < bytes.length) ftruncateSync(fd, wholeBytes);
    fsyncSync(fd);
    syncFolder(dirname(path));
    return read;
  } finally {
    closeSync(fd);
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
