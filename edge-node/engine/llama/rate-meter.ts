// Smoothed rates of reading and generating tokens, from the durations of the scheduler's steps.

const SMOOTHING = 0.1;
/** Shorter reads say more about the step's overhead than about the rate. */
const PREFILL_TOKENS_MIN = 16;

export class RateMeter {
  prefill = 0;
  decodePerStream = 0;
  decodeTotal = 0;

  /** Takes one step: how many streams generated a token, how many prompt tokens were read. */
  step(streams: number, prefillTokens: number, durationMs: number): void {
    if (durationMs <= 0) return;
    const perSecond = 1000 / durationMs;
    if (prefillTokens >= PREFILL_TOKENS_MIN) {
      this.prefill = smooth(this.prefill, prefillTokens * perSecond);
    }
    if (streams > 0 && prefillTokens === 0) {
      this.decodePerStream = smooth(this.decodePerStream, perSecond);
      this.decodeTotal = smooth(this.decodeTotal, streams * perSecond);
    }
  }
}

function smooth(average: number, sample: number): number {
  return average === 0 ? sample : average + SMOOTHING * (sample - average);
}
