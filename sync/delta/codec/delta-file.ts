// What a delta file holds and where, read off its header alone. The file came from somebody else:
// nothing in it is taken for granted.
import { type FileHandle, open } from "node:fs/promises";
import { z } from "zod";
import { Fault } from "../../../proto/fault.ts";
import { INDEX_SUFFIX, SCALES_SUFFIX, SHAPES_KEY, VALUES_SUFFIX } from "./delta-encoder.ts";
import type { CodecName } from "./delta-format.ts";
import { blockCount } from "./int8-blocks.ts";

const HEADER_BYTES_MAX = 16 << 20;
const TENSORS_MAX = 100_000;

/** Bytes of the file, from `start` up to but without `end`. */
export interface ByteSpan {
  readonly start: number;
  readonly end: number;
}

/** One tensor of the delta. */
export interface DeltaTensor {
  readonly name: string;
  /** Dense, outermost dimension first. */
  readonly shape: readonly number[];
  /** Numbers of the dense tensor. */
  readonly count: number;
  /** F32, BF16 or I8 numbers; of a top-k tensor the F32 numbers that are sent. */
  readonly values: ByteSpan;
  /** int8: one F32 scale for each block. */
  readonly scales: ByteSpan | null;
  /** top-k: the U32 places of `values`. */
  readonly index: ByteSpan | null;
}

export interface DeltaFile {
  readonly path: string;
  readonly bytes: number;
  readonly codec: CodecName;
  /** By name, sorted. */
  readonly tensors: ReadonlyMap<string, DeltaTensor>;
  readonly metadata: Readonly<Record<string, string>>;
}

const numberBytes = { F32: 4, U32: 4, BF16: 2, I8: 1 } as const;
const sizesSchema = z.array(z.int().min(0)).max(8);
const entrySchema = z.object({
  dtype: z.enum(["F32", "U32", "BF16", "I8"]),
  shape: sizesSchema,
  data_offsets: z.tuple([z.int().min(0), z.int().min(0)]),
});
const metadataSchema = z.record(z.string(), z.string());
const shapesSchema = z.record(z.string(), sizesSchema);
type Entry = Omit<z.infer<typeof entrySchema>, "data_offsets"> & { readonly span: ByteSpan };
type Entries = ReadonlyMap<string, Entry>;

/** Reads a delta file's header. Faults: `invalid-argument` for whatever isn't a delta file. */
export async function openDelta(path: string): Promise<DeltaFile> {
  await using file = await open(path);
  const { size } = await file.stat();
  const head = await readExactly(file, 0, 8, size);
  const headerBytes = Number(head.readBigUInt64LE(0));
  if (headerBytes > HEADER_BYTES_MAX) throw malformed(`a header of ${headerBytes} bytes`);
  const text = (await readExactly(file, 8, headerBytes, size)).toString("utf8");
  const { __metadata__: metadata = {}, ...rest } = parseJson(text, z.record(z.string(), z.any()));
  const entries = readEntries(rest, 8 + headerBytes, size);
  const known = metadataSchema.safeParse(metadata);
  if (!known.success) throw malformed("metadata other than strings");
  const codec = codecOf(entries);
  const tensors = tensorsOf(codec, entries, known.data);
  return { path, bytes: size, codec, tensors, metadata: known.data };
}

/** Every entry, in the order of the bytes: they follow each other without a hole to the end. */
function readEntries(header: Record<string, unknown>, dataStart: number, size: number): Entries {
  const names = Object.keys(header);
  if (names.length === 0 || names.length > TENSORS_MAX) throw malformed(`${names.length} tensors`);
  const entries = new Map<string, Entry>();
  let next = dataStart;
  for (const name of names) {
    const found = entrySchema.safeParse(header[name]);
    if (!found.success) throw malformed(`tensor ${brief(name)} has no known type, shape or place`);
    const { dtype, shape, data_offsets: offsets } = found.data;
    const span = { start: dataStart + offsets[0], end: dataStart + offsets[1] };
    if (span.start !== next || span.end > size) throw malformed(`${brief(name)} is out of place`);
    if (span.end - span.start !== countOf(shape) * numberBytes[dtype]) {
      throw malformed(`tensor ${brief(name)} doesn't fit its shape ${shape.join("×")}`);
    }
    if (span.start % numberBytes[dtype] !== 0) throw malformed(`${brief(name)} isn't aligned`);
    entries.set(name, { dtype, shape, span });
    next = span.end;
  }
  if (next !== size) throw malformed(`${size - next} bytes belong to nothing`);
  return entries;
}

function codecOf(entries: Entries): CodecName {
  for (const [name, { dtype }] of entries) {
    if (name.endsWith(INDEX_SUFFIX)) return "top-k";
    if (name.endsWith(SCALES_SUFFIX)) return "int8";
    if (dtype === "BF16") return "bf16";
  }
  return "f32";
}

function tensorsOf(
  codec: CodecName,
  entries: Entries,
  metadata: Readonly<Record<string, string>>,
): ReadonlyMap<string, DeltaTensor> {
  const tensors = codec === "top-k" ? topTensors(entries, metadata) : denseTensors(codec, entries);
  const parts = { f32: 1, bf16: 1, int8: 2, "top-k": 2 }[codec];
  if (tensors.length * parts !== entries.size) throw malformed("tensors that belong to nothing");
  tensors.sort((a, b) => (a.name < b.name ? -1 : 1));
  return new Map(tensors.map((tensor) => [tensor.name, tensor]));
}

function denseTensors(codec: CodecName, entries: Entries): DeltaTensor[] {
  const dtype = codec === "int8" ? "I8" : codec === "bf16" ? "BF16" : "F32";
  return [...entries].flatMap(([name, entry]) => {
    if (entry.dtype !== dtype || name.includes("#")) return [];
    const count = countOf(entry.shape);
    const scales =
      codec === "int8" ? part(entries, name + SCALES_SUFFIX, "F32", blockCount(count)) : null;
    return [{ name, shape: entry.shape, count, values: entry.span, scales, index: null }];
  });
}

function topTensors(entries: Entries, metadata: Readonly<Record<string, string>>): DeltaTensor[] {
  const shapes = parseJson(metadata[SHAPES_KEY] ?? "", shapesSchema);
  return Object.entries(shapes).map(([name, shape]) => {
    const count = countOf(shape);
    const sent = entries.get(name + INDEX_SUFFIX)?.shape[0] ?? 0;
    if (sent > count) throw malformed(`${brief(name)} sends more numbers than it has`);
    const index = part(entries, name + INDEX_SUFFIX, "U32", sent);
    const values = part(entries, name + VALUES_SUFFIX, "F32", sent);
    return { name, shape, count, values, scales: null, index };
  });
}

function part(entries: Entries, name: string, dtype: Entry["dtype"], count: number): ByteSpan {
  const entry = entries.get(name);
  if (entry?.dtype !== dtype || entry.shape.length !== 1 || entry.shape[0] !== count) {
    throw malformed(`${brief(name)} isn't ${count} numbers of ${dtype}`);
  }
  return entry.span;
}

function countOf(shape: readonly number[]): number {
  const count = shape.reduce((product, size) => product * size, 1);
  if (!Number.isSafeInteger(count)) throw malformed(`a tensor of ${shape.join("×")}`);
  return count;
}

async function readExactly(file: FileHandle, at: number, length: number, size: number) {
  if (at + length > size) throw malformed("the header is cut off");
  const bytes = Buffer.alloc(length);
  for (let done = 0; done < length; ) {
    const { bytesRead } = await file.read(bytes, done, length - done, at + done);
    if (bytesRead === 0) throw malformed("the file became shorter");
    done += bytesRead;
  }
  return bytes;
}

function parseJson<T>(text: string, schema: z.ZodType<T>): T {
  try {
    return schema.parse(JSON.parse(text));
  } catch (cause) {
    throw new Fault("invalid-argument", "not a delta file: its header makes no sense", { cause });
  }
}

function brief(name: string): string {
  return name.slice(0, 120);
}

function malformed(what: string): Fault {
  return new Fault("invalid-argument", `not a delta file: ${what}`);
}
