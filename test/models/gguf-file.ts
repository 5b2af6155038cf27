// Writes small GGUF files for tests: metadata and float32 tensors, nothing else.
import { mkdir, rename, writeFile } from "node:fs/promises";
import { dirname } from "node:path";

export type GgufValue = string | number | boolean | readonly string[] | readonly number[];

export interface GgufTensor {
  readonly name: string;
  /** Innermost first, as GGUF has it. */
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

const VERSION = 3;
const ALIGNMENT = 32;
const typeIds = { u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9 } as const;

/** Whole numbers are written as u32 (as i32 inside of lists), others as f32. */
export async function writeGguf(
  path: string,
  metadata: Readonly<Record<string, GgufValue>>,
  tensors: readonly GgufTensor[],
): Promise<void> {
  const parts: Buffer[] = [Buffer.from("GGUF"), u32(VERSION)];
  parts.push(u64(tensors.length), u64(Object.keys(metadata).length));
  for (const [key, value] of Object.entries(metadata)) parts.push(text(key), typed(value));
  let offset = 0;
  for (const tensor of tensors) {
    parts.push(text(tensor.name), u32(tensor.shape.length), ...tensor.shape.map(u64));
    parts.push(u32(0), u64(offset));
    offset += padded(tensor.values.byteLength);
  }
  const header = Buffer.concat(parts);
  const body: Buffer[] = [header, Buffer.alloc(padded(header.length) - header.length)];
  for (const { values } of tensors) {
    body.push(Buffer.from(values.buffer, values.byteOffset, values.byteLength));
    body.push(Buffer.alloc(padded(values.byteLength) - values.byteLength));
  }
  await mkdir(dirname(path), { recursive: true });
  // Tests in other processes may be making the same file: it appears whole or not at all.
  const draft = `${path}.${process.pid}.${Math.floor(performance.now() * 1000)}`;
  await writeFile(draft, Buffer.concat(body));
  await rename(draft, path);
}

function typed(value: GgufValue): Buffer {
  if (typeof value === "string") return Buffer.concat([u32(typeIds.string), text(value)]);
  if (typeof value === "boolean") {
    return Buffer.concat([u32(typeIds.bool), Buffer.of(value ? 1 : 0)]);
  }
  if (typeof value === "number") {
    const whole = Number.isInteger(value);
    return Buffer.concat([u32(whole ? typeIds.u32 : typeIds.f32), whole ? u32(value) : f32(value)]);
  }
  const strings = typeof value[0] === "string";
  const items = value.map((item) => (typeof item === "string" ? text(item) : i32(item)));
  const type = u32(strings ? typeIds.string : typeIds.i32);
  return Buffer.concat([u32(typeIds.array), type, u64(value.length), ...items]);
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([u64(bytes.length), bytes]);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function i32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
}

function f32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes;
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function padded(length: number): number {
  return Math.ceil(length / ALIGNMENT) * ALIGNMENT;
}
