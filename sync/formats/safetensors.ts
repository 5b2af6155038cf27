// Reads and writes safetensors files: a JSON header with offsets, then the plain numbers.

import fs from "node:fs";
import { Fault } from "../../proto/fault.ts";
import { bytesOf } from "./gguf-writer.ts";
import { bf16ToF32, f16ToF32 } from "./half-float.ts";

const HEADER_BYTES_MAX = 100_000_000;

/** A tensor of f32 numbers, row-major; the shape counts the outermost dimension first. */
export interface SafeTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** A file's tensors by name, with its metadata strings. */
export interface SafetensorsFile {
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: ReadonlyMap<string, SafeTensor>;
}

/** Writes f32 tensors in the order given, whole or not at all. */
export function writeSafetensors(path: string, file: SafetensorsFile): void {
  const bytes = encodeSafetensors(file);
  const temporary = `${path}.part`;
  const fd = fs.openSync(temporary, "w");
  try {
    for (let done = 0; done < bytes.length; ) done += fs.writeSync(fd, bytes, done);
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
  fs.renameSync(temporary, path);
}

/** Reads a file's f32, f16 and bf16 tensors as f32. Faults: invalid-argument, unsupported. */
export function readSafetensors(path: string): SafetensorsFile {
  return decodeSafetensors(fs.readFileSync(path), path);
}

/** The bytes of a safetensors file. */
export function encodeSafetensors({ metadata, tensors }: SafetensorsFile): Uint8Array {
  const shapes = new Map([...tensors].map(([name, { shape }]) => [name, shape]));
  const head = encodeSafetensorsHead(metadata, shapes);
  return Buffer.concat([head, ...[...tensors.values()].map(({ data }) => bytesOf(data))]);
}

/** What comes before the numbers in a file of f32 tensors, which follow in the order given. */
export function encodeSafetensorsHead(
  metadata: SafetensorsFile["metadata"],
  shapes: ReadonlyMap<string, readonly number[]>,
): Buffer {
  const header: Record<string, unknown> = {};
  if (Object.keys(metadata).length > 0) header.__metadata__ = metadata;
  let offset = 0;
  for (const [name, shape] of shapes) {
    const end = offset + shape.reduce((a, b) => a * b, 1) * Float32Array.BYTES_PER_ELEMENT;
    header[name] = { dtype: "F32", shape, data_offsets: [offset, end] };
    offset = end;
  }
  const json = Buffer.from(JSON.stringify(header), "utf8");
  const padded = Math.ceil(json.length / 8) * 8;
  const head = Buffer.alloc(8 + padded, " ");
  head.writeBigUInt64LE(BigInt(padded));
  json.copy(head, 8);
  return head;
}

/** Parses the bytes of a safetensors file; `source` names it in faults. */
export function decodeSafetensors(bytes: Buffer, source: string): SafetensorsFile {
  const { header, dataStart } = readHeader(bytes, source);
  const tensors = new Map<string, SafeTensor>();
  let metadata: Record<string, string> = {};
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") metadata = entry as Record<string, string>;
    else tensors.set(name, readTensor(bytes, dataStart, name, entry, source));
  }
  return { metadata, tensors };
}

function readHeader(bytes: Buffer, source: string) {
  if (bytes.length < 8) throw malformed(source, "shorter than its header");
  const headerBytes = Number(bytes.readBigUInt64LE(0));
  const dataStart = 8 + headerBytes;
  if (headerBytes > HEADER_BYTES_MAX || dataStart > bytes.length) {
    throw new Fault("invalid-argument", `${source}: the header is cut off`);
  }
  let header: unknown;
  try {
    header = JSON.parse(bytes.toString("utf8", 8, dataStart));
  } catch (cause) {
    throw malformed(source, "the header isn't JSON", cause);
  }
  if (typeof header !== "object" || header === null || Array.isArray(header)) {
    throw malformed(source, "the header isn't an object");
  }
  return { header: header as Record<string, unknown>, dataStart };
}

function readTensor(
  bytes: Buffer,
  dataStart: number,
  name: string,
  entry: unknown,
  source: string,
): SafeTensor {
  const { dtype, shape, data_offsets: offsets } = (entry ?? {}) as Record<string, unknown>;
  if (!isSizes(shape) || !isSizes(offsets) || offsets.length !== 2) {
    throw malformed(source, `tensor ${name} has no shape or offsets`);
  }
  const [begin, end] = offsets as [number, number];
  if (begin > end || dataStart + end > bytes.length) {
    throw new Fault("invalid-argument", `${source}: tensor ${name} is cut off`);
  }
  const decode = typeof dtype === "string" ? DECODERS[dtype] : undefined;
  if (!decode) {
    throw new Fault(
      "unsupported",
      `${source}: tensor ${name} is ${String(dtype)}; only F32, F16 and BF16 are supported`,
    );
  }
  const count = shape.reduce((a, b) => a * b, 1);
  if (end - begin !== count * decode.bytes) {
    throw malformed(source, `tensor ${name} doesn't fit its shape ${shape.join("×")}`);
  }
  // A copy, because the data may begin at any byte, and typed arrays need alignment.
  const raw = Uint8Array.from(bytes.subarray(dataStart + begin, dataStart + end)).buffer;
  return { shape, data: decode.toF32(raw) };
}

const DECODERS: Record<string, { bytes: number; toF32: (raw: ArrayBuffer) => Float32Array }> = {
  F32: { bytes: 4, toF32: (raw) => new Float32Array(raw) },
  F16: { bytes: 2, toF32: (raw) => Float32Array.from(new Uint16Array(raw), f16ToF32) },
  BF16: { bytes: 2, toF32: (raw) => Float32Array.from(new Uint16Array(raw), bf16ToF32) },
};

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0);
}

function malformed(source: string, what: string, cause?: unknown): Fault {
  return new Fault("invalid-argument", `${source}: not a safetensors file: ${what}`, { cause });
}
