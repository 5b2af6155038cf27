// A region's LoRA updates side by side: factors whose product is exactly Σ w·s·B·A, whatever the
// edges' ranks. B = [w₁s·B₁ | w₂s·B₂ …], A = [A₁; A₂; …]; s = alpha / rank is the same for all.
// Source: Wang et al., "FLoRA", arXiv 2409.05976.
//
// Edges send changes of factors, so each pair is put together again: B = B₀ + dB, A = A₀ + dA.
// An edge of a lower rank trained the first components of the start and left the others as they
// were; they are added as they are, so that it doesn't pull the mean towards its own rank.
import { Fault } from "../../proto/fault.ts";
import { layoutDifference, layoutOf, sortedNames, type TensorMap } from "../delta/tensor-map.ts";
import type { SafeTensor } from "../formats/safetensors.ts";
import { type Matrix, matrix, multiply, scaled, sum } from "./matrix.ts";

const SUFFIX_A = ".lora_a";
const SUFFIX_B = ".lora_b";

export interface StackPart {
  /** Sorts the stack, and names the contributor in faults. */
  readonly name: string;
  readonly weight: number;
  /** What the change counts, e.g. below 1 for one that is scaled down to a norm bound. */
  readonly factor: number;
  /** Reads the change when its turn comes: the start's tensors, or of a lower rank. */
  readonly load: () => TensorMap | Promise<TensorMap>;
}

/**
 * Stacks the parts by name: the same parts give the same bytes in any order. The rank of a weight's
 * pair is the sum of its parts' ranks, but never above the weight's own smaller side: beyond that,
 * the product itself is the smaller thing, and one factor becomes the identity.
 * Shapes: A [R, in], B [out, R]. Memory: the stack and one part.
 * Faults: `invalid-argument` for no parts, a name twice, or a layout that isn't the start's.
 */
export async function stackDeltas(
  start: TensorMap,
  scale: number,
  parts: readonly StackPart[],
): Promise<TensorMap> {
  if (parts.length === 0) throw new Fault("invalid-argument", "nothing to stack");
  const sorted = [...parts].sort((x, y) => (x.name < y.name ? -1 : 1));
  const weights = weightsOf(start);
  const stacks = new Map<string, PairStack>();
  for (const [i, part] of sorted.entries()) {
    if (part.name === sorted[i - 1]?.name) {
      throw new Fault("invalid-argument", `${part.name} contributes twice`);
    }
    const delta = await part.load();
    assertPairs(start, delta, part.name);
    for (const weight of weights) {
      const pair = resultOf(pairOf(start, weight), pairOf(delta, weight), part.factor);
      const stack = stacks.get(weight) ?? new PairStack();
      stack.add(pair, part.weight * scale);
      stacks.set(weight, stack);
    }
  }
  return tensorsOf(new Map([...stacks].map(([weight, stack]) => [weight, stack.pair()])));
}

/** A weight's factors, row-major. Shapes: a [rank, in], b [out, rank]. */
export interface FactorPair {
  readonly b: Matrix;
  readonly a: Matrix;
}

/** Names of the weights that an adapter changes, sorted. */
export function weightsOf(tensors: TensorMap): string[] {
  return sortedNames(tensors).flatMap((name) => {
    return name.endsWith(SUFFIX_A) ? [name.slice(0, -1 * SUFFIX_A.length)] : [];
  });
}

/** Requires that the weight has both factors. */
export function pairOf(tensors: TensorMap, weight: string): FactorPair {
  const a = tensors.get(weight + SUFFIX_A)!;
  const b = tensors.get(weight + SUFFIX_B)!;
  return {
    a: matrix(a.shape[0] ?? 0, a.shape[1] ?? 0, a.data),
    b: matrix(b.shape[0] ?? 0, b.shape[1] ?? 0, b.data),
  };
}

/** Pairs as f32 tensors, names sorted. */
export function tensorsOf(pairs: ReadonlyMap<string, FactorPair>): TensorMap {
  const tensors = new Map<string, SafeTensor>();
  for (const weight of [...pairs.keys()].sort()) {
    const { a, b } = pairs.get(weight)!;
    tensors.set(weight + SUFFIX_A, rounded(a));
    tensors.set(weight + SUFFIX_B, rounded(b));
  }
  return tensors;
}

/** Side by side: the sum of the pairs' products. */
export function joinPairs(pairs: readonly FactorPair[]): FactorPair {
  const rank = pairs.reduce((total, { a }) => total + a.rows, 0);
  const out = pairs[0]?.b.rows ?? 0;
  const into = pairs[0]?.a.columns ?? 0;
  const a = matrix(rank, into);
  const b = matrix(out, rank);
  let first = 0;
  for (const pair of pairs) {
    if (pair.a.columns !== into || pair.b.rows !== out || pair.a.rows !== pair.b.columns) {
      throw new Fault("invalid-argument", "the factors don't belong to one weight");
    }
    const { rows } = pair.a;
    a.data.set(pair.a.data, first * into);
    for (let i = 0; i < out; i++) {
      b.data.set(pair.b.data.subarray(i * rows, (i + 1) * rows), i * rank + first);
    }
    first += rows;
  }
  return { a, b };
}

/** Grows by one pair at a time; becomes the sum of the products once that is the smaller thing. */
class PairStack {
  #pairs: FactorPair[] = [];
  #dense: Matrix | null = null;
  #rank = 0;

  add({ a, b }: FactorPair, factor: number): void {
    const pair = { a, b: scaled(b, factor) };
    this.#rank += a.rows;
    if (this.#dense !== null) {
      this.#dense = sum(this.#dense, multiply(pair.b, pair.a));
      return;
    }
    this.#pairs.push(pair);
    if (this.#rank <= Math.min(a.columns, b.rows)) return;
    this.#dense = this.#pairs.map((one) => multiply(one.b, one.a)).reduce(sum);
    this.#pairs = [];
  }

  pair(): FactorPair {
    const product = this.#dense;
    if (product === null) return joinPairs(this.#pairs);
    if (product.rows <= product.columns) return { b: identity(product.rows), a: product };
    return { b: product, a: identity(product.columns) };
  }
}

/** Start plus change; what a lower rank left alone comes from the start. */
function resultOf(start: FactorPair, delta: FactorPair, factor: number): FactorPair {
  const { rows: rank } = start.a;
  const trained = delta.a.rows;
  const a = matrix(rank, start.a.columns, start.a.data);
  const b = matrix(start.b.rows, rank, start.b.data);
  for (let i = 0; i < delta.a.data.length; i++) a.data[i]! += factor * delta.a.data[i]!;
  for (let row = 0; row < b.rows; row++) {
    for (let k = 0; k < trained; k++) {
      b.data[row * rank + k]! += factor * delta.b.data[row * trained + k]!;
    }
  }
  return { a, b };
}

function assertPairs(start: TensorMap, delta: TensorMap, name: string): void {
  const rank = [...delta].find(([tensor]) => tensor.endsWith(SUFFIX_A))?.[1].shape[0] ?? 0;
  const expected = new Map(
    [...layoutOf(start)].map(([tensor, shape]) => {
      const [first = 0, second = 0] = shape;
      const cut = tensor.endsWith(SUFFIX_A)
        ? [Math.min(rank, first), second]
        : [first, Math.min(rank, second)];
      return [tensor, cut];
    }),
  );
  const difference = layoutDifference(expected, layoutOf(delta));
  if (difference) throw new Fault("invalid-argument", `${name}: ${difference}`);
}

function identity(size: number): Matrix {
  const result = matrix(size, size);
  for (let i = 0; i < size; i++) result.data[i * size + i] = 1;
  return result;
}

function rounded({ rows, columns, data }: Matrix): SafeTensor {
  return { shape: [rows, columns], data: Float32Array.from(data) };
}
