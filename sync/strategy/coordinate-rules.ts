// Robust means of many vectors, coordinate by coordinate. They need every delta of one tier, so
// they run inside a region; only weighted sums merge exactly across regions.
// Source: Yin et al., "Byzantine-Robust Distributed Learning", arXiv 1803.01498.
import { Fault } from "../../proto/fault.ts";

export type Vector = Float32Array | Float64Array;

/** The middle value of each coordinate; the mean of the two middle ones for an even count. */
export function coordinateMedian(vectors: readonly Vector[]): Float64Array {
  return eachCoordinate(vectors, middleOf);
}

/** How many values a trimmed mean drops at each end. */
export function trimmedCount(count: number, share: number): number {
  return Math.floor(share * count);
}

/** The mean of each coordinate without the ⌊share·n⌋ smallest and largest values. */
export function trimmedMean(vectors: readonly Vector[], share: number): Float64Array {
  const drop = trimmedCount(vectors.length, share);
  if (2 * drop >= vectors.length) {
    throw new Fault("invalid-argument", `trimming ${share} at each end leaves no delta`);
  }
  return eachCoordinate(vectors, (sorted) => meanOf(sorted, drop, sorted.length - drop));
}

/** The mean of the `keep` values of each coordinate that are nearest to its median. */
export function meanAroundMedian(vectors: readonly Vector[], keep: number): Float64Array {
  return eachCoordinate(vectors, (sorted) => {
    const middle = middleOf(sorted);
    let from = 0;
    // The nearest values of a sorted row are neighbours: drop the farther end, one by one.
    for (let to = sorted.length; to - from > keep; ) {
      if (middle - sorted[from]! > sorted[to - 1]! - middle) from++;
      else to--;
    }
    return meanOf(sorted, from, from + keep);
  });
}

function eachCoordinate(
  vectors: readonly Vector[],
  of: (sorted: Float64Array) => number,
): Float64Array {
  const length = vectors[0]?.length ?? 0;
  if (length === 0 || vectors.some((vector) => vector.length !== length)) {
    throw new Fault("invalid-argument", "robust rules need vectors of one length");
  }
  const sorted = new Float64Array(vectors.length);
  const result = new Float64Array(length);
  for (let i = 0; i < length; i++) {
    for (let k = 0; k < vectors.length; k++) sorted[k] = vectors[k]![i]!;
    result[i] = of(sorted.sort());
  }
  return result;
}

function middleOf(sorted: Float64Array): number {
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
}

function meanOf(sorted: Float64Array, from: number, to: number): number {
  let total = 0;
  for (let i = from; i < to; i++) total += sorted[i]!;
  return total / (to - from);
}
