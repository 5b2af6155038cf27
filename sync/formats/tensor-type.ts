// The tensor types of GGUF that Isthmus handles, and how many bytes each takes.

import { Fault } from "../../proto/fault.ts";

/** ggml's type numbers, as they stand in GGUF files. */
export const TensorType = {
  f32: 0,
  f16: 1,
  q4_0: 2,
  q4_1: 3,
  q5_0: 6,
  q5_1: 7,
  q8_0: 8,
  q2_k: 10,
  q3_k: 11,
  q4_k: 12,
  q5_k: 13,
  q6_k: 14,
  i32: 26,
  bf16: 30,
} as const;
export type TensorTypeName = keyof typeof TensorType;
export type TensorType = (typeof TensorType)[TensorTypeName];

/** [elements a block, bytes a block] of each type. */
const BLOCKS: Record<TensorType, readonly [number, number]> = {
  [TensorType.f32]: [1, 4],
  [TensorType.f16]: [1, 2],
  [TensorType.q4_0]: [32, 18],
  [TensorType.q4_1]: [32, 20],
  [TensorType.q5_0]: [32, 22],
  [TensorType.q5_1]: [32, 24],
  [TensorType.q8_0]: [32, 34],
  [TensorType.q2_k]: [256, 84],
  [TensorType.q3_k]: [256, 110],
  [TensorType.q4_k]: [256, 144],
  [TensorType.q5_k]: [256, 176],
  [TensorType.q6_k]: [256, 210],
  [TensorType.i32]: [1, 4],
  [TensorType.bf16]: [1, 2],
};

/** Whether a type number read from a file is one of ours. */
export function isTensorType(type: number): type is TensorType {
  return Object.hasOwn(BLOCKS, type);
}

/** The elements that one block of this type holds; rows must be multiples of it. */
export function blockElements(type: TensorType): number {
  return BLOCKS[type][0];
}

export function elementCount(dimensions: readonly number[]): number {
  return dimensions.reduce((product, n) => product * n, 1);
}

/** The bytes of a tensor. Dimensions are in ggml's order: the row length first. */
export function tensorBytes(type: TensorType, dimensions: readonly number[]): number {
  const [elements, bytes] = BLOCKS[type];
  const row = dimensions[0] ?? 1;
  if (row % elements !== 0) {
    throw new Fault(
      "failed-precondition",
      `rows of ${row} elements don't divide into blocks of ${elements} (tensor type ${type})`,
    );
  }
  return (elementCount(dimensions) / elements) * bytes;
}
