// The largest numbers of a tensor with their places; the others count as 0.
//
// Error: what is left out has at most (1 - k/n) of the tensor's squared norm; the rest is exact.
// Source: Stich et al., "Sparsified SGD with Memory", arXiv 1809.07599, definition 2.1.
import { Fault } from "../../../proto/fault.ts";

export interface TopNumbers {
  /** Strictly ascending. */
  readonly index: Uint32Array;
  readonly values: Float32Array;
}

/**
 * Picks `k` numbers of the largest magnitude; of equal ones, those that come first. NaN and
 * infinities count as the largest of all, so that they are never hidden.
 */
export function pickTop(values: Float32Array, k: number): TopNumbers {
  const magnitudes = values.map(magnitudeOf);
  const threshold = magnitudes.slice().sort()[values.length - k] ?? 0;
  let above = 0;
  for (const magnitude of magnitudes) if (magnitude > threshold) above++;
  let ties = k - above;
  const index = new Uint32Array(k);
  let found = 0;
  for (let i = 0; i < magnitudes.length && found < k; i++) {
    const magnitude = magnitudes[i]!;
    if (magnitude < threshold || (magnitude === threshold && ties-- <= 0)) continue;
    index[found++] = i;
  }
  return { index, values: Float32Array.from(index, (i) => values[i]!) };
}

/** Faults: `invalid-argument` when the places aren't ascending and below `count`. */
export function assertPlaces(index: Uint32Array, count: number): void {
  let before = -1;
  for (const place of index) {
    if (place <= before || place >= count) {
      throw new Fault("invalid-argument", `place ${place} after ${before}, of ${count} numbers`);
    }
    before = place;
  }
}

function magnitudeOf(value: number): number {
  const magnitude = Math.abs(value);
  return Number.isNaN(magnitude) ? Number.POSITIVE_INFINITY : magnitude;
}
