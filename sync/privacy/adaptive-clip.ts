// A clip that follows the norms of the deltas instead of being guessed: it moves towards the
// quantile of norms that is aimed at, geometrically, by a noised count of who needed no clipping.
// Source: Andrew et al., "Differentially private learning with adaptive clipping",
// arXiv 1905.03871, algorithm 1 and section 4.
import { Fault } from "../../proto/fault.ts";
import type { Gaussian } from "./gaussian.ts";

export const CLIP_START = 0.1;
/** The quantile of norms that the clip goes to: the median. */
export const CLIP_QUANTILE = 0.5;
export const CLIP_RATE = 0.2;
/** A twentieth of the contributors is the deviation of the noise on the count. */
const COUNT_DEVIATION_SHARE = 1 / 20;

/**
 * The next round's clip: C·exp(−rate·(b̄ − quantile)).
 * `unclippedShare` is b̄, the noised share of deltas whose norm was within the clip.
 */
export function nextClip(
  clip: number,
  unclippedShare: number,
  { quantile = CLIP_QUANTILE, rate = CLIP_RATE } = {},
): number {
  return clip * Math.exp(-rate * (unclippedShare - quantile));
}

/** σ_b = n/20: the deviation of the noise on the count of unclipped deltas. */
export function countDeviation(contributors: number): number {
  return contributors * COUNT_DEVIATION_SHARE;
}

/** b̄: the share of deltas within the clip, noised. */
export function noisedShare(unclipped: number, contributors: number, gaussian: Gaussian): number {
  // Counted as ±½, so that one edge moves the sum by half: what z_Δ takes for granted.
  const centered = unclipped - contributors / 2 + countDeviation(contributors) * gaussian();
  return centered / contributors + 0.5;
}

/**
 * z_Δ = (z⁻² − (2σ_b)⁻²)^(−½): the noise on the deltas that together with the noise on the count
 * costs what z alone would. Faults: `invalid-argument` when the count's noise is too small for it.
 */
export function deltaMultiplier(multiplier: number, contributors: number): number {
  const left = multiplier ** -2 - (2 * countDeviation(contributors)) ** -2;
  if (left > 0) return left ** -0.5;
  const message = `${contributors} contributors are too few to hide the count at z = ${multiplier}`;
  throw new Fault("invalid-argument", message);
}
