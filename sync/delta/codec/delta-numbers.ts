// The numbers of a delta file, decoded piece by piece: memory of one piece, whatever the file.
import { type FileHandle, open } from "node:fs/promises";
import { Fault } from "../../../proto/fault.ts";
import type { SafeTensor } from "../../formats/safetensors.ts";
import { layoutDifference, type TensorLayout, type TensorMap } from "../tensor-map.ts";
import { decodeBrainFloats } from "./brain-float.ts";
import { type ByteSpan, type DeltaFile, type DeltaTensor, openDelta } from "./delta-file.ts";
import type { CodecName } from "./delta-format.ts";
import { decodeInt8, INT8_BLOCK } from "./int8-blocks.ts";
import { assertPlaces } from "./top-numbers.ts";

/** Numbers of a piece, a whole multiple of a block: 1 MiB of f32. */
const PIECE_NUMBERS = 1 << 18;

export interface NumberPiece {
  readonly tensor: DeltaTensor;
  /** Which of the tensor's numbers is the first here. */
  readonly at: number;
  readonly values: Float32Array;
}

/** What a delta holds, as screening judges it. */
export interface DeltaContents {
  readonly codec: CodecName;
  readonly layout: TensorLayout;
  /** Numbers that each tensor sends: all but in top-k. */
  readonly sent: ReadonlyMap<string, number>;
  /**
   * L2 norm in f64, over the tensors by name: the same as that of the decoded tensors. NaN when
   * the layout isn't the one expected, and nobody looked at the numbers.
   */
  readonly norm: number;
  /** The first tensor with a number that isn't finite. */
  readonly notFinite: string | null;
}

/**
 * Decodes every tensor, by name, from its first number to its last.
 * Faults: `invalid-argument` for top-k numbers without a proper place.
 */
export async function* numbersOf(delta: DeltaFile): AsyncGenerator<NumberPiece, void, undefined> {
  await using file = await open(delta.path);
  for (const tensor of delta.tensors.values()) {
    const read = delta.codec === "top-k" ? sparsePieces : densePieces;
    yield* read(file, tensor, delta.codec);
  }
}

/** Decodes a whole delta. */
export async function readDelta(
  path: string,
): Promise<{ readonly codec: CodecName; readonly tensors: TensorMap }> {
  const delta = await openDelta(path);
  const tensors = new Map<string, SafeTensor>();
  for (const { name, shape, count } of delta.tensors.values()) {
    tensors.set(name, { shape, data: new Float32Array(count) });
  }
  for await (const { tensor, at, values } of numbersOf(delta)) {
    tensors.get(tensor.name)!.data.set(values, at);
  }
  return { codec: delta.codec, tensors };
}

/**
 * Looks through a delta without holding it; not at the numbers of one whose layout isn't the one
 * expected, since they could be any number of numbers. Faults: `invalid-argument` for what isn't
 * a delta.
 */
export async function scanDelta(path: string, expected: TensorLayout): Promise<DeltaContents> {
  const delta = await openDelta(path);
  const tensors = [...delta.tensors.values()];
  const layout = new Map(tensors.map(({ name, shape }) => [name, shape]));
  const sent = new Map(tensors.map((tensor) => [tensor.name, sentBy(tensor)]));
  const found = { codec: delta.codec, layout, sent, norm: Number.NaN, notFinite: null };
  return layoutDifference(expected, layout) ? found : { ...found, ...(await measure(delta)) };
}

async function measure(delta: DeltaFile): Promise<Pick<DeltaContents, "norm" | "notFinite">> {
  let sum = 0;
  let notFinite: string | null = null;
  for await (const { tensor, values } of numbersOf(delta)) {
    for (const value of values) {
      sum += value * value;
      if (!Number.isFinite(value)) notFinite ??= tensor.name;
    }
  }
  return { norm: Math.sqrt(sum), notFinite };
}

function sentBy({ count, index }: DeltaTensor): number {
  return index ? (index.end - index.start) / Uint32Array.BYTES_PER_ELEMENT : count;
}

async function* densePieces(file: FileHandle, tensor: DeltaTensor, codec: CodecName) {
  for (let at = 0; at < tensor.count; at += PIECE_NUMBERS) {
    const count = Math.min(PIECE_NUMBERS, tensor.count - at);
    yield { tensor, at, values: await readDense(file, tensor, codec, at, count) };
  }
}

async function readDense(
  file: FileHandle,
  { values, scales }: DeltaTensor,
  codec: CodecName,
  at: number,
  count: number,
): Promise<Float32Array> {
  switch (codec) {
    case "bf16":
      return decodeBrainFloats(new Uint16Array(await readNumbers(file, values, at, count, 2)));
    case "int8": {
      const codes = new Int8Array(await readNumbers(file, values, at, count, 1));
      const blocks = Math.ceil(count / INT8_BLOCK);
      const scaleBytes = await readNumbers(file, scales!, at / INT8_BLOCK, blocks, 4);
      return decodeInt8({ codes, scales: new Float32Array(scaleBytes) });
    }
    default:
      return new Float32Array(await readNumbers(file, values, at, count, 4));
  }
}

async function* sparsePieces(file: FileHandle, tensor: DeltaTensor) {
  const sent = sentBy(tensor);
  const index = new Uint32Array(await readNumbers(file, tensor.index!, 0, sent, 4));
  assertPlaces(index, tensor.count);
  const numbers = new Float32Array(await readNumbers(file, tensor.values, 0, sent, 4));
  let next = 0;
  for (let at = 0; at < tensor.count; at += PIECE_NUMBERS) {
    const values = new Float32Array(Math.min(PIECE_NUMBERS, tensor.count - at));
    const end = at + values.length;
    for (; next < sent && index[next]! < end; next++) values[index[next]! - at] = numbers[next]!;
    yield { tensor, at, values };
  }
}

/** Reads `count` numbers of `width` bytes, from a span's number `at` on. */
async function readNumbers(
  file: FileHandle,
  span: ByteSpan,
  at: number,
  count: number,
  width: number,
): Promise<ArrayBuffer> {
  const buffer = new ArrayBuffer(count * width);
  const bytes = new Uint8Array(buffer);
  const start = span.start + at * width;
  for (let done = 0; done < bytes.length; ) {
    const { bytesRead } = await file.read(bytes, done, bytes.length - done, start + done);
    if (bytesRead === 0) throw new Fault("invalid-argument", "not a delta file: it is cut off");
    done += bytesRead;
  }
  return buffer;
}
