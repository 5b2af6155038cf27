// Delta files of any size for the bench, written a piece at a time: random numbers from one pool,
// each file beginning elsewhere in it.
import { type FileHandle, mkdir, open, stat } from "node:fs/promises";
import { join } from "node:path";
import { encodeBrainFloats } from "../../../sync/delta/codec/brain-float.ts";
import { blockCount, encodeInt8, INT8_BLOCK } from "../../../sync/delta/codec/int8-blocks.ts";
import { seededRandom } from "../../../sync/formats/seeded-random.ts";

export type BenchCodec = "f32" | "bf16" | "int8";

/** Numbers of a tensor: a weight of 4096 × 1024, as layers have. */
const TENSOR_SHAPE = [4096, 1024] as const;
const TENSOR_NUMBERS = TENSOR_SHAPE[0] * TENSOR_SHAPE[1];
const dtypes = { f32: "F32", bf16: "BF16", int8: "I8" } as const;
const widths = { f32: 4, bf16: 2, int8: 1 } as const;

/** A model of about so many parameters, in whole tensors. */
export function tensorsOf(parameters: number): number {
  return Math.max(1, Math.round(parameters / TENSOR_NUMBERS));
}

export function numbersOf(parameters: number): number {
  return tensorsOf(parameters) * TENSOR_NUMBERS;
}

/** Bytes of a delta's numbers, scales included. */
export function deltaBytes(codec: BenchCodec, numbers: number): number {
  return numbers * widths[codec] + (codec === "int8" ? (numbers / INT8_BLOCK) * 4 : 0);
}

/** Writes `count` deltas, unless they lie there from an earlier run; answers their paths. */
export async function writeDeltas(
  dir: string,
  codec: BenchCodec,
  parameters: number,
  count: number,
): Promise<string[]> {
  await mkdir(dir, { recursive: true });
  const random = seededRandom(1);
  const pool = Float32Array.from({ length: TENSOR_NUMBERS }, () => (random.next() - 0.5) / 100);
  const paths: string[] = [];
  for (let i = 0; i < count; i++) {
    const path = join(dir, `${codec}-${tensorsOf(parameters)}-${i}.safetensors`);
    const head = headOf(codec, tensorsOf(parameters));
    const bytes = head.length + deltaBytes(codec, numbersOf(parameters));
    const found = await stat(path).catch(() => null);
    if (found?.size !== bytes) await writeDelta(path, codec, head, rotated(pool, i), parameters);
    paths.push(path);
  }
  return paths;
}

async function writeDelta(
  path: string,
  codec: BenchCodec,
  head: Buffer,
  numbers: Float32Array,
  parameters: number,
): Promise<void> {
  await using file = await open(path, "w");
  await file.writeFile(head);
  const repeat = async (data: ArrayBufferView) => {
    for (let i = 0; i < tensorsOf(parameters); i++) await writeAll(file, data);
  };
  if (codec === "f32") await repeat(numbers);
  if (codec === "bf16") await repeat(encodeBrainFloats(numbers));
  if (codec === "int8") {
    const { scales, codes } = encodeInt8(numbers);
    await repeat(scales);
    await repeat(codes);
  }
  // So that nothing is still being written to the disk when the measuring begins.
  await file.sync();
}

async function writeAll(file: FileHandle, data: ArrayBufferView): Promise<void> {
  await file.writeFile(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
}

function rotated(pool: Float32Array, by: number): Float32Array {
  const start = (by * 7919) % pool.length;
  const turned = new Float32Array(pool.length);
  turned.set(pool.subarray(start));
  turned.set(pool.subarray(0, start), pool.length - start);
  return turned;
}

function headOf(codec: BenchCodec, tensors: number): Buffer {
  const header: Record<string, unknown> = {};
  let offset = 0;
  const add = (name: string, dtype: string, shape: readonly number[], bytes: number) => {
    header[name] = { dtype, shape, data_offsets: [offset, offset + bytes] };
    offset += bytes;
  };
  const names = Array.from({ length: tensors }, (_, i) => `blk.${String(i).padStart(4, "0")}`);
  const blocks = blockCount(TENSOR_NUMBERS);
  if (codec === "int8")
    for (const name of names) add(`${name}#scales`, "F32", [blocks], blocks * 4);
  for (const name of names) add(name, dtypes[codec], TENSOR_SHAPE, TENSOR_NUMBERS * widths[codec]);
  const json = JSON.stringify(header);
  const padded = Math.ceil(json.length / 8) * 8;
  const head = Buffer.alloc(8 + padded, " ");
  head.writeBigUInt64LE(BigInt(padded));
  head.write(json, 8);
  return head;
}
