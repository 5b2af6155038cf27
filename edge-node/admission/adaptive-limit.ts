// How many requests an engine works on at once, learnt from what more of them cost each other.
//
// More streams share each pass over the weights, so every one gets slower while all together get
// faster, up to a point that no table knows. The limit follows the measured time per output token:
// it shrinks by the gradient allowed/measured when a stream takes more than TPOT_TOLERANCE times
// what it takes on a nearly idle engine (streams faster than TPOT_FINE_MS are never too slow), and
// grows by one while requests wait and the load above isn't known to be too much. Between the two
// lies a band in which it rests. In the family of Vegas and gradient limits; what differs is that
// the cost of each load is remembered, so that a limit that was found isn't lost to probing.
//
// Slowness that comes from outside (a training run beside it) shrinks the limit as well, which
// keeps streams usable; the best is learnt anew as soon as a stream is alone.

/** Over the best, a stream may take this much longer for each token. */
export const TPOT_TOLERANCE = 3;
/**
 * About 240 words a minute, as fast as people read: what MLPerf Inference asks of a server for
 * Llama 2 70B. Up to here more streams are worth more than faster ones.
 */
export const TPOT_FINE_MS = 200;
/** No growth above this share of what is allowed, where the load above is unknown. */
export const GROWTH_MARGIN = 0.9;
/** Below this free share of KV memory the limit shrinks; it grows only above the second. */
export const KV_FREE_MIN = 0.05;
export const KV_FREE_GROWTH = 0.15;
/** Samples after which a load that was too much may be tried again. */
export const RETRY_SAMPLES = 120;
/** Samples of a load before it decides anything. */
export const SAMPLES_MIN = 3;

const WEIGHT = 0.2;
/** The most that one decision takes away. */
const GRADIENT_MIN = 0.5;

export interface LoadSample {
  /** Requests that had a slot while it was measured. */
  readonly active: number;
  /** Requests that wait for one. */
  readonly waiting: number;
  /** Mean time between two tokens of a stream; null when none was generated. */
  readonly tpotMs: number | null;
  /** Share of the KV memory that no request holds, 0 to 1. */
  readonly kvFree: number;
}

interface LoadCost {
  tpotMs: number;
  samples: number;
  seenAt: number;
}

export class AdaptiveLimit {
  readonly #costs = new Map<number, LoadCost>();
  #slots: number;
  #limit: number;
  #bestMs = Number.POSITIVE_INFINITY;
  #taken = 0;

  /** Begins with all slots: what isn't measured is no reason to refuse. */
  constructor({ slots }: { readonly slots: number }) {
    this.#slots = slots;
    this.#limit = slots;
  }

  get limit(): number {
    return this.#limit;
  }

  /** The longest time per output token that doesn't shrink the limit; Infinity until measured. */
  get allowedMs(): number {
    return Math.max(TPOT_TOLERANCE * this.#bestMs, TPOT_FINE_MS);
  }

  /** Another engine: begins anew when it has other slots. */
  resize(slots: number): void {
    if (slots === this.#slots) return;
    this.#slots = slots;
    this.#limit = slots;
    this.#costs.clear();
    this.#bestMs = Number.POSITIVE_INFINITY;
  }

  /** Takes what was measured over the last while; returns the limit from here on. */
  take(sample: LoadSample): number {
    this.#taken++;
    const { active, waiting, tpotMs, kvFree } = sample;
    const cost = tpotMs === null || active < 1 ? undefined : this.#learn(active, tpotMs);
    // Above the limit: what was decided last is still coming into effect.
    if (active > this.#limit) return this.#limit;
    if (kvFree < KV_FREE_MIN) this.#shrinkTo(active - 1);
    else if (cost !== undefined && this.#isTooMuch(cost)) {
      const gradient = Math.max(GRADIENT_MIN, this.allowedMs / cost.tpotMs);
      this.#shrinkTo(Math.min(active - 1, Math.floor(active * gradient)));
    } else if (waiting > 0 && active === this.#limit && kvFree > KV_FREE_GROWTH) this.#grow(cost);
    return this.#limit;
  }

  #learn(active: number, tpotMs: number): LoadCost {
    const isAlone = active === 1 && Number.isFinite(this.#bestMs);
    if (isAlone) this.#bestMs += WEIGHT * (tpotMs - this.#bestMs);
    else this.#bestMs = Math.min(this.#bestMs, tpotMs);
    const level = Math.min(active, this.#slots);
    const known = this.#costs.get(level);
    if (known === undefined) {
      const cost = { tpotMs, samples: 1, seenAt: this.#taken };
      this.#costs.set(level, cost);
      return cost;
    }
    known.tpotMs += WEIGHT * (tpotMs - known.tpotMs);
    known.samples++;
    known.seenAt = this.#taken;
    return known;
  }

  #isTooMuch({ tpotMs, samples }: LoadCost): boolean {
    return samples >= SAMPLES_MIN && tpotMs > this.allowedMs;
  }

  #shrinkTo(limit: number): void {
    this.#limit = Math.max(1, Math.min(this.#limit, limit));
  }

  #grow(cost: LoadCost | undefined): void {
    const next = this.#limit + 1;
    if (next > this.#slots) return;
    const above = this.#costs.get(next);
    if (above !== undefined && this.#taken - above.seenAt < RETRY_SAMPLES) {
      if (above.tpotMs > this.allowedMs) return;
    } else {
      if (cost !== undefined && cost.tpotMs > GROWTH_MARGIN * this.allowedMs) return;
      this.#costs.delete(next);
    }
    this.#limit = next;
  }
}
