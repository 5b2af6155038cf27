// From the regions' stacks to the next global adapter: all stacks side by side, divided by the
// weights, are the exact mean of the edges' updates; what is kept of it is the best adapter of the
// campaign's rank. Source: Wang et al., "FLoRA", arXiv 2409.05976 (stacking), with the truncation
// in factored form.
import { Fault } from "../../proto/fault.ts";
import type { TensorMap } from "../delta/tensor-map.ts";
import type { FrameOrder } from "./factor-frame.ts";
import { type FactorPair, joinPairs, pairOf, tensorsOf, weightsOf } from "./lora-stack.ts";
import { scaled } from "./matrix.ts";
import { assertDisjoint, type RegionPartial } from "./merge-partials.ts";
import { mergeWeights } from "./weight-merge-threads.ts";

export interface StackMerge {
  /** The adapter as f32 tensors of the start's layout. */
  readonly tensors: TensorMap;
  /** Share of the exact mean's squared norm that the campaign's rank holds, 0 to 1. */
  readonly kept: number;
}

export interface StackMergeOptions {
  /** alpha / rank of the campaign. */
  readonly scale: number;
  readonly order: FrameOrder;
  /** How far to go from the start towards the mean, and beyond it above 1; default 1. */
  readonly rate?: number;
  /** Most threads; every core by default. */
  readonly threadsMax?: number;
}

/**
 * Merges stacks on the start that their edges trained from. The same stacks give the same bytes in
 * any order. Memory: the stacks. Faults: `invalid-argument` for no stacks, a region or contributor
 * that comes twice, weights that aren't positive, or stacks of other weights than the start's.
 */
export async function mergeStacks(
  start: TensorMap,
  partials: readonly RegionPartial[],
  { scale, order, rate = 1, threadsMax }: StackMergeOptions,
): Promise<StackMerge> {
  assertDisjoint(partials);
  if (partials.length === 0) throw new Fault("invalid-argument", "nothing to merge");
  const sorted = [...partials].sort((x, y) => (x.region < y.region ? -1 : 1));
  const total = sorted.reduce((sum, { weight }) => sum + weight, 0);
  const stacks: TensorMap[] = [];
  for (const { region, load } of sorted) stacks.push(complete(start, await load(), region));
  const weights = weightsOf(start);
  const tasks = weights.map((weight) => {
    const from = pairOf(start, weight);
    const { a, b } = joinPairs(stacks.map((stack) => pairOf(stack, weight)));
    const mean = { a, b: scaled(b, rate / (total * scale)) };
    return { mean: rate === 1 ? mean : joinPairs([mean, rest(from, rate)]), start: from, order };
  });
  const results = await mergeWeights(tasks, { threadsMax });
  const merged = new Map<string, FactorPair>();
  let whole = 0;
  let kept = 0;
  for (const [i, { merged: pair, values }] of results.entries()) {
    merged.set(weights[i]!, pair);
    for (const [k, value] of values.entries()) {
      whole += value ** 2;
      if (k < pair.a.rows) kept += value ** 2;
    }
  }
  return { tensors: tensorsOf(merged), kept: whole > 0 ? kept / whole : 1 };
}

/**
 * What of the start is left when a merge goes `rate` of the way to the mean: the way is one of
 * products. Factors of start and mean are of other coordinates, and say nothing about each other.
 */
function rest({ a, b }: FactorPair, rate: number): FactorPair {
  return { a, b: scaled(b, 1 - rate) };
}

/** A stack of just the start's weights, each with both factors of the right sides. */
function complete(start: TensorMap, stack: TensorMap, region: string): TensorMap {
  const names = new Set([...start.keys(), ...stack.keys()]);
  for (const name of names) {
    const shape = stack.get(name)?.shape;
    const side = name.endsWith(".lora_a") ? 1 : 0;
    if (shape?.length !== 2 || shape[side] !== start.get(name)?.shape[side]) {
      throw new Fault("invalid-argument", `the stack of ${region} doesn't fit at ${name}`);
    }
  }
  return stack;
}
