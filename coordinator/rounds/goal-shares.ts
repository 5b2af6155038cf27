// How many deltas each region should bring in for a round's goal: as many as its share of the edges
// that are ready. Pure.

export interface ReadyRegion {
  readonly region: string;
  /** Edges that could be invited there now. */
  readonly ready: number;
}

export interface GoalShare {
  readonly region: string;
  /** 0: the region is not needed. */
  readonly goal: number;
}

/**
 * Splits a goal by largest remainders, so that the shares sum up to it. With more regions than
 * deltas some bring in none: `round` decides by turns which. With nobody ready anywhere yet, each
 * region is asked for an equal part.
 */
export function goalShares(
  goal: number,
  regions: readonly ReadyRegion[],
  round: number,
): readonly GoalShare[] {
  const sorted = [...regions].sort((a, b) => (a.region < b.region ? -1 : 1));
  const isNobodyReady = sorted.every(({ ready }) => ready === 0);
  const weights = sorted.map(({ ready }) => (isNobodyReady ? 1 : ready));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const exact = weights.map((weight) => (goal * weight) / total);
  const shares = exact.map(Math.floor);
  const turn = (i: number) => (i + round) % sorted.length;
  const byRemainder = sorted
    .map((_, i) => i)
    .filter((i) => weights[i]! > 0)
    .sort((a, b) => remainder(exact[b]!) - remainder(exact[a]!) || turn(a) - turn(b));
  const given = shares.reduce((sum, share) => sum + share, 0);
  for (const i of byRemainder.slice(0, goal - given)) shares[i]! += 1;
  return sorted.map(({ region }, i) => ({ region, goal: shares[i]! }));
}

/** Rounded, so that equal thirds stay equal. */
function remainder(exact: number): number {
  return Math.round((exact - Math.floor(exact)) * 1e9);
}
