// How sure a difference between two versions is. The same two are compared again with every report
// for as long as a rollout lasts, so the bounds hold over all those looks together: whatever the
// looks, a difference that isn't there is called sure in at most one of a hundred rollouts.
//
// Sources: the bounds over time are the normal mixtures of Robbins 1970, used with estimated
// variances as in Waudby-Smith et al., "Time-uniform central limit theory and asymptotic
// confidence sequences" (arXiv 2103.06476); rates are compared by Newcombe 1998, Statistics in
// Medicine 17:873, method 10, out of two intervals of Wilson 1927.

/** Of both sides; one side is looked at, so that one in a hundred remains. */
const BOTH_SIDES = 0.02;
/** Relative difference of sums that rounding can explain. */
const ROUNDING = 1e-9;

/** How often something was so, among how many. */
export interface Rate {
  readonly hits: number;
  readonly count: number;
}

/** Sums over measurements. */
export interface Moments {
  readonly sum: number;
  readonly squareSum: number;
  readonly count: number;
}

/**
 * Standard errors that a difference must have to be sure after `count` samples, whenever it is
 * looked at. Tightest around `usual` samples: 3.3 there, 3.6 after ten times as many.
 */
export function deviationsOf(count: number, usual: number): number {
  const twice = -2 * Math.log(BOTH_SIDES);
  const spread = (count * (twice + Math.log(twice + 1))) / usual;
  return Math.sqrt(((spread + 1) / spread) * Math.log((spread + 1) / BOTH_SIDES ** 2));
}

/** Whether the rate `now` is surely higher than `before`; against nothing at all, than 0. */
export function isSurelyHigher(now: Rate, before: Rate, usual: number): boolean {
  const deviations = deviationsOf(now.count, usual);
  const of = intervalOf(now, deviations);
  if (before.count === 0) return of.low > 0;
  const against = intervalOf(before, deviations);
  const spread = Math.hypot(of.share - of.low, against.high - against.share);
  return of.share - against.share - spread > 0;
}

/**
 * Of a single measurement around its mean. Sums that no measurements can have (an edge that doesn't
 * tell squares) count as spread as far as the mean itself: as wide as waiting times are.
 */
export function varianceOf({ sum, squareSum, count }: Moments): number {
  if (count === 0) return 0;
  const mean = sum / count;
  if (squareSum * count < sum ** 2 * (1 - ROUNDING)) return mean ** 2;
  const spread = Math.max(0, squareSum / count - mean ** 2);
  return count > 1 ? (spread * count) / (count - 1) : mean ** 2;
}

function intervalOf({ hits, count }: Rate, deviations: number) {
  const share = hits / count;
  const square = deviations ** 2;
  const middle = share + square / (2 * count);
  const variance = (share * (1 - share)) / count + square / (4 * count ** 2);
  const spread = deviations * Math.sqrt(variance);
  const scale = 1 + square / count;
  return { share, low: (middle - spread) / scale, high: (middle + spread) / scale };
}
