// How long one decode step of a stream takes at a given load, learnt from what an edge reports: its
// rate and how many streams it had. A line through what was seen, the last report its anchor.

/** Weight of the newest report. */
const WEIGHT = 0.1;
/** What each stream more costs where nothing is learnt yet: batching is nearly free, not quite. */
const SLOWDOWN_PER_STREAM = 0.05;
/** The loads seen must have differed this much (variance) before their slope is believed. */
const VARIANCE_MIN = 0.5;
/** However empty an edge gets, a step isn't shorter than this share of what was seen. */
const SHARE_MIN = 0.25;

export class StepPace {
  #stepMs = 0;
  #load = 1;
  #meanStepMs = 0;
  #meanLoad = 0;
  #variance = 0;
  #covariance = 0;

  /** Requires: the rate of one stream; 0 when the edge hasn't measured any. */
  measured(tokensPerS: number, active: number): void {
    if (tokensPerS <= 0) return;
    this.#stepMs = 1000 / tokensPerS;
    // An idle edge tells the rate of the load that it had.
    if (active === 0) {
      if (this.#meanLoad > 0) this.#load = this.#meanLoad;
      return;
    }
    this.#load = active;
    if (this.#meanLoad === 0) {
      this.#meanLoad = active;
      this.#meanStepMs = this.#stepMs;
      return;
    }
    const awayLoad = active - this.#meanLoad;
    const awayMs = this.#stepMs - this.#meanStepMs;
    this.#meanLoad += WEIGHT * awayLoad;
    this.#meanStepMs += WEIGHT * awayMs;
    this.#variance = (1 - WEIGHT) * (this.#variance + WEIGHT * awayLoad * awayLoad);
    this.#covariance = (1 - WEIGHT) * (this.#covariance + WEIGHT * awayLoad * awayMs);
  }

  get isMeasured(): boolean {
    return this.#stepMs > 0;
  }

  /** Milliseconds a step with so many streams; 0 while nothing is measured. */
  stepMsAt(streams: number): number {
    const perStreamMs =
      this.#variance >= VARIANCE_MIN
        ? Math.min(Math.max(this.#covariance / this.#variance, 0), this.#stepMs / this.#load)
        : this.#stepMs * SLOWDOWN_PER_STREAM;
    const stepMs = this.#stepMs + perStreamMs * (streams - this.#load);
    return Math.max(stepMs, this.#stepMs * SHARE_MIN);
  }
}
