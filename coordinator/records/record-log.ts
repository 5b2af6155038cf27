// The coordinator's own durable memory: keyed records in one append-only file. A record is on disk
// before anyone is told of it; a line torn by a crash was never acknowledged and is cut off.
//
// A line is `<crc32 of the rest, 8 hex digits> <JSON of the record>`. The file is rewritten when
// most of it is history.
import {
  closeSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  statSync,
} from "node:fs";
import { dirname } from "node:path";
import { crc32 } from "node:zlib";
import { z } from "zod";
import { replaceFile, syncFolder, writeAndSync } from "../../sync/delta/durable-file.ts";

/** Below this a log is never rewritten. */
const COMPACT_MIN_BYTES = 1 << 20;
/** Rewritten when it is this many times as long as its live records. */
const COMPACT_RATIO = 4;

const recordSchema = z.strictObject({
  key: z.string().min(1),
  revision: z.int().min(1),
  value: z.json(),
});

/** One thing remembered. `revision` counts its writes, from 1. */
export type StoredRecord = z.infer<typeof recordSchema>;

/** Reads a record's JSON. Throws when it isn't one. */
export function parseRecord(json: string): StoredRecord {
  return recordSchema.parse(JSON.parse(json));
}

export class RecordLog {
  readonly #path: string;
  readonly #records = new Map<string, StoredRecord>();
  #fd: number;
  #bytes = 0;

  constructor(path: string) {
    this.#path = path;
    const folder = dirname(path);
    mkdirSync(folder, { recursive: true });
    const isNew = !existsSync(path);
    this.#fd = openSync(path, "a");
    if (isNew) syncFolder(folder);
    this.#read();
  }

  get records(): ReadonlyMap<string, StoredRecord> {
    return this.#records;
  }

  /** Remembers a record durably, in place of what had its key. */
  append(record: StoredRecord): void {
    const line = lineOf(record);
    writeAndSync(this.#fd, line);
    this.#bytes += line.length;
    this.#records.set(record.key, record);
    if (this.#bytes > COMPACT_MIN_BYTES) this.#compact();
  }

  close(): void {
    closeSync(this.#fd);
  }

  #read(): void {
    const content = readFileSync(this.#path);
    let at = 0;
    while (at < content.length) {
      const end = content.indexOf(0x0a, at);
      const record = end < 0 ? undefined : parseLine(content.subarray(at, end));
      if (record === undefined) break;
      this.#records.set(record.key, record);
      at = end + 1;
    }
    this.#bytes = at;
    if (at === content.length) return;
    if (content.indexOf(0x0a, at) >= 0 && content.indexOf(0x0a, at) < content.length - 1) {
      throw new Error(`${this.#path} is damaged at byte ${at}; restore it, or move it away`);
    }
    ftruncateSync(this.#fd, at);
  }

  #compact(): void {
    const lines = Buffer.concat([...this.#records.values()].map(lineOf));
    if (this.#bytes < lines.length * COMPACT_RATIO) return;
    replaceFile(this.#path, lines);
    closeSync(this.#fd);
    this.#fd = openSync(this.#path, "a");
    this.#bytes = statSync(this.#path).size;
  }
}

function lineOf(record: StoredRecord): Buffer {
  const json = JSON.stringify(record);
  return Buffer.from(`${crc32(json).toString(16).padStart(8, "0")} ${json}\n`);
}

function parseLine(line: Buffer): StoredRecord | undefined {
  const json = line.subarray(9).toString();
  if (line.subarray(0, 8).toString() !== crc32(json).toString(16).padStart(8, "0"))
    return undefined;
  return parseRecord(json);
}
