// Times to first token of one class of requests, in buckets that grow by a quarter. Old ones fade.

const LEAST_MS = 1;
const GROWTH = 1.25;
const BUCKETS = 64;
/** Beyond so many samples all counts are halved. */
const SAMPLES_MAX = 512;
/** Fewer say nothing about a tail. */
const SAMPLES_MIN = 20;

export class TtftHistogram {
  readonly #counts = new Float64Array(BUCKETS);
  #samples = 0;

  add(ttftMs: number): void {
    const bucket = Math.ceil(Math.log(Math.max(ttftMs, LEAST_MS) / LEAST_MS) / Math.log(GROWTH));
    this.#counts[Math.min(bucket, BUCKETS - 1)]! += 1;
    this.#samples += 1;
    if (this.#samples < SAMPLES_MAX) return;
    this.#samples /= 2;
    for (let k = 0; k < BUCKETS; k += 1) this.#counts[k]! /= 2;
  }

  /** The upper edge of the bucket that holds the share; null while too little is known. */
  percentileMs(share: number): number | null {
    if (this.#samples < SAMPLES_MIN) return null;
    let left = this.#samples * share;
    for (let k = 0; k < BUCKETS; k += 1) {
      left -= this.#counts[k]!;
      if (left <= 0) return LEAST_MS * GROWTH ** k;
    }
    return LEAST_MS * GROWTH ** (BUCKETS - 1);
  }
}
