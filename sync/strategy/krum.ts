// Krum: of n deltas, f of which may come from liars, the one whose nearest neighbours are nearest.
// Source: Blanchard et al., "Byzantine-Tolerant Machine Learning", NIPS 2017; El Mhamdi et al.,
// "The Hidden Vulnerability of Distributed Learning in Byzantium" (Bulyan), arXiv 1802.07927.
import type { TierGeometry } from "./tier-geometry.ts";

/** Krum is proven only for n > 2f + 2. */
export function krumHolds(count: number, byzantine: number): boolean {
  return count > 2 * byzantine + 2;
}

/** Bulyan is proven only for n ≥ 4f + 3. */
export function bulyanHolds(count: number, byzantine: number): boolean {
  return count >= 4 * byzantine + 3;
}

/**
 * Of each of `among` (all, unless given), the sum of the squared distances to its n − f − 2 nearest
 * among them, and to one at least.
 */
export function krumScores(
  geometry: TierGeometry,
  byzantine: number,
  among: readonly number[] = everyone(geometry),
): number[] {
  const nearest = Math.max(1, among.length - byzantine - 2);
  return among.map((i) => {
    const others = among.filter((j) => j !== i).map((j) => geometry.squaredDistance(i, j));
    return others
      .sort((a, b) => a - b)
      .slice(0, nearest)
      .reduce((sum, distance) => sum + distance, 0);
  });
}

/** The `keep` members with the lowest scores, in order of score; the earlier one of equals. */
export function multiKrum(geometry: TierGeometry, byzantine: number, keep: number): number[] {
  const scores = krumScores(geometry, byzantine);
  const order = scores.map((_, i) => i).sort((i, j) => scores[i]! - scores[j]! || i - j);
  return order.slice(0, keep);
}

/** The members that Bulyan averages: n − 2f picks of Krum, each among those not yet picked. */
export function bulyanPicks(geometry: TierGeometry, byzantine: number): number[] {
  const picked: number[] = [];
  let left = everyone(geometry);
  const wanted = geometry.count - 2 * byzantine;
  while (picked.length < wanted && left.length > 0) {
    const scores = krumScores(geometry, byzantine, left);
    const best = left[scores.indexOf(Math.min(...scores))]!;
    picked.push(best);
    left = left.filter((i) => i !== best);
  }
  return picked;
}

function everyone({ count }: TierGeometry): number[] {
  return Array.from({ length: count }, (_, i) => i);
}
