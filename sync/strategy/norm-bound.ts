// Bounds on how far one delta may reach: longer ones are scaled down to the bound.
// Source: Sun et al., "Can You Really Backdoor Federated Learning?", arXiv 1911.07963.

/** The adaptive bound: so many times the tier's median norm. Honest edges stay below it. */
export const BOUND_SLACK = 2;
/** Beyond so many times the bound a delta isn't scaled down but left out: something is wrong. */
export const FAR_BEYOND = 5;

/** What a delta is multiplied by to be no longer than `bound`; 0 means no bound. */
export function boundFactor(norm: number, bound: number): number {
  return bound > 0 && norm > bound ? bound / norm : 1;
}

/**
 * A bound that a minority can't move: twice the median norm. The lower one of two middle norms,
 * since one of two edges may be the liar, and liars gain by being long. 0 for no norms.
 */
export function adaptiveBound(norms: readonly number[]): number {
  const sorted = [...norms].sort((a, b) => a - b);
  return BOUND_SLACK * (sorted[(sorted.length - 1) >> 1] ?? 0);
}
