// The compiled inner loops (assembly/sum-kernel.ts) and the memory that they work in: one piece of
// the sums, the same piece of a group of deltas, about 3 MiB together, so that what was read is
// still in the cache when it is added.
import { readFileSync } from "node:fs";
import type { CodecName } from "../delta/codec/delta-format.ts";
import { blockCount, INT8_BLOCK } from "../delta/codec/int8-blocks.ts";

/** Numbers of a piece; a whole multiple of a block. */
export const PIECE_NUMBERS = 1 << 16;
/** Deltas that pass by while the sums stay in registers. */
export const GROUP_DELTAS = 8;

export type DenseCodec = Exclude<CodecName, "top-k">;
export const numberBytes: Readonly<Record<DenseCodec, number>> = { f32: 4, bf16: 2, int8: 1 };

const PAGE_BYTES = 65_536;
const SUM_BYTES = 8;
/** A cache line more than the numbers need, so that the deltas don't compete for the same lines. */
const VALUES_STRIDE = PIECE_NUMBERS * 4 + 64;
const SCALES_STRIDE = blockCount(PIECE_NUMBERS) * 4;

/** As much of Node's global as is needed; its types come with browsers' only. */
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object) => { readonly exports: unknown };
};

/** The compiled functions; every place is a byte offset in `memory`. */
export interface KernelExports {
  readonly memory: { readonly buffer: ArrayBuffer; grow(pages: number): number };
  readonly sumF32: DenseSum;
  readonly sumBf16: DenseSum;
  readonly sumInt8: (
    sums: number,
    values: number,
    valuesStride: number,
    scales: number,
    scalesStride: number,
    weights: number,
    deltas: number,
    count: number,
  ) => void;
  readonly sumSparse: (
    sums: number,
    index: number,
    values: number,
    weight: number,
    first: number,
    length: number,
    count: number,
  ) => number;
  readonly roundSums: (sums: number, rounded: number, count: number) => void;
}
type DenseSum = (
  sums: number,
  values: number,
  valuesStride: number,
  weights: number,
  deltas: number,
  count: number,
) => void;

/** Byte offsets in the kernel's memory. */
const places = layOut({
  weights: GROUP_DELTAS * SUM_BYTES,
  sums: PIECE_NUMBERS * SUM_BYTES,
  scales: GROUP_DELTAS * SCALES_STRIDE,
  rounded: PIECE_NUMBERS * 4,
  values: GROUP_DELTAS * VALUES_STRIDE,
});

export class SumKernel {
  readonly #exports: KernelExports;
  readonly #bytes: Uint8Array;
  readonly #sums: Float64Array;
  readonly #weights: Float64Array;

  constructor() {
    const module = new WebAssembly.Module(
      readFileSync(new URL("sum-kernel.wasm", import.meta.url)),
    );
    this.#exports = new WebAssembly.Instance(module).exports as KernelExports;
    const { memory } = this.#exports;
    memory.grow(Math.ceil(places.end / PAGE_BYTES));
    this.#bytes = new Uint8Array(memory.buffer);
    this.#sums = new Float64Array(memory.buffer, places.sums, PIECE_NUMBERS);
    this.#weights = new Float64Array(memory.buffer, places.weights, GROUP_DELTAS);
  }

  /** Begins a piece: its sums are 0. */
  clear(): void {
    this.#sums.fill(0);
  }

  /** Where the numbers of the group's delta `slot` belong. */
  values(slot: number, bytes: number): Uint8Array {
    const start = places.values + slot * VALUES_STRIDE;
    return this.#bytes.subarray(start, start + bytes);
  }

  /** Where the int8 scales of the group's delta `slot` belong. */
  scales(slot: number, bytes: number): Uint8Array {
    const start = places.scales + slot * SCALES_STRIDE;
    return this.#bytes.subarray(start, start + bytes);
  }

  /** Adds weight · numbers of the group's deltas, in their order, to the first `count` sums. */
  addDense(codec: DenseCodec, weights: readonly number[], count: number): void {
    this.#weights.set(weights);
    const { sums, values, scales, weights: at } = places;
    const whole = blockCount(count) * INT8_BLOCK;
    const deltas = weights.length;
    switch (codec) {
      case "f32":
        this.#exports.sumF32(sums, values, VALUES_STRIDE, at, deltas, whole);
        break;
      case "bf16":
        this.#exports.sumBf16(sums, values, VALUES_STRIDE, at, deltas, whole);
        break;
      case "int8":
        this.#exports.sumInt8(
          sums,
          values,
          VALUES_STRIDE,
          scales,
          SCALES_STRIDE,
          at,
          deltas,
          whole,
        );
        break;
    }
  }

  /**
   * Adds weight · number to the sums of the tensor's numbers from `first` on: slot 0 holds
   * `entries` places of numbers, ascending, slot 1 the numbers. Answers how many lie before
   * first + count.
   */
  addSparse(weight: number, first: number, count: number, entries: number): number {
    const { sums, values } = places;
    const numbers = values + VALUES_STRIDE;
    return this.#exports.sumSparse(sums, values, numbers, weight, first, count, entries);
  }

  /** The first `count` sums, rounded to the bytes of f32 numbers; good until the next call. */
  rounded(count: number): Uint8Array {
    this.#exports.roundSums(places.sums, places.rounded, blockCount(count) * INT8_BLOCK);
    return this.#bytes.subarray(places.rounded, places.rounded + count * 4);
  }
}

/** An instance of its own, with at least so many bytes of memory. */
export function instantiateKernel(bytes: number): KernelExports {
  const module = new WebAssembly.Module(readFileSync(new URL("sum-kernel.wasm", import.meta.url)));
  const exports = new WebAssembly.Instance(module).exports as KernelExports;
  exports.memory.grow(Math.ceil(bytes / PAGE_BYTES));
  return exports;
}

/** Offsets of areas one after another, each on a cache line. */
function layOut<Name extends string>(sizes: Record<Name, number>): Record<Name | "end", number> {
  let end = 0;
  const offsets = {} as Record<Name | "end", number>;
  for (const [name, bytes] of Object.entries(sizes) as [Name, number][]) {
    offsets[name] = end;
    end += Math.ceil(bytes / 64) * 64;
  }
  return Object.assign(offsets, { end });
}
