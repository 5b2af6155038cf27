// How long streams wait for their next token: a bounded sketch of the recent times between two
// tokens, good for quantiles within RATIO of the truth.

/** Between two neighbouring buckets, so a quantile is at most a seventh too high. */
const RATIO = 1.15;
const FIRST_MS = 0.1;
/** Up to about ten minutes. */
const BUCKETS = 112;
/** When so many are counted, each counts half: old ones fade. */
const COUNT_MAX = 4096;

export class InterTokenTimes {
  readonly #counts = new Float64Array(BUCKETS);
  #total = 0;

  add(durationMs: number): void {
    const bucket = Math.ceil(Math.log(Math.max(durationMs, FIRST_MS) / FIRST_MS) / Math.log(RATIO));
    this.#counts[Math.min(bucket, BUCKETS - 1)]! += 1;
    this.#total++;
    if (this.#total < COUNT_MAX) return;
    for (const [at, count] of this.#counts.entries()) this.#counts[at] = count / 2;
    this.#total /= 2;
  }

  /** The time that the given share of them doesn't exceed; 0 before the first. */
  quantile(share: number): number {
    if (this.#total === 0) return 0;
    let below = 0;
    for (const [bucket, count] of this.#counts.entries()) {
      below += count;
      if (below >= share * this.#total) return FIRST_MS * RATIO ** bucket;
    }
    return FIRST_MS * RATIO ** (BUCKETS - 1);
  }
}
