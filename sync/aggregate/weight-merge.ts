// One weight's share of merging stacks: the mean update of all regions, cut to the campaign's rank.
// Weights don't touch each other, so threads may take them in any order.
import { type FrameOrder, frameFactors } from "./factor-frame.ts";
import type { FactorPair } from "./lora-stack.ts";
import { productSpectrum } from "./rank-truncation.ts";

export interface WeightTask {
  /** All stacks side by side, divided by their weights and the adapter's scale. */
  readonly mean: FactorPair;
  readonly start: FactorPair;
  readonly order: FrameOrder;
}

export interface WeightResult {
  /** Of the start's rank. */
  readonly merged: FactorPair;
  /** All singular values of the mean, largest first. */
  readonly values: readonly number[];
}

export function mergeWeight({ mean, start, order }: WeightTask): WeightResult {
  const spectrum = productSpectrum(mean);
  const merged = frameFactors(spectrum, start.a.rows, start, order);
  return { merged, values: spectrum.values };
}

/** Multiplications of a task, roughly: orthogonal bases, and singular values by rotations. */
export function costOf({ mean: { a, b } }: WeightTask): number {
  const rank = a.rows;
  return 4 * rank * rank * (a.columns + b.rows) + 60 * rank ** 3;
}
