// Milliseconds that recent failures add to a prediction, fading. What fails fast is idle and would
// look like the best of all; this makes it worse, for a while.
import type { FaultCode } from "../../proto/fault.ts";

const HALF_LIFE_MS = 5000;
const PENALTY_MAX_MS = 30_000;
/** Below this a penalty is forgotten. */
const NEGLIGIBLE_MS = 1;
const SUCCESS_FACTOR = 0.5;

/** What one failure adds; a fault of the caller's own making adds nothing. */
const penaltyOf: Partial<Record<FaultCode, number>> = {
  overloaded: 200,
  draining: 1000,
  "model-absent": 1000,
  unavailable: 1000,
  "link-lost": 2000,
  "engine-crashed": 2000,
  internal: 2000,
};

export class FadingPenalty {
  #ms = 0;
  #atMs = 0;

  get isAny(): boolean {
    return this.#ms > 0;
  }

  failed(code: FaultCode, nowMs: number): void {
    const added = penaltyOf[code] ?? 0;
    if (added === 0) return;
    this.#ms = Math.min(this.msAt(nowMs) + added, PENALTY_MAX_MS);
    this.#atMs = nowMs;
  }

  succeeded(nowMs: number): void {
    this.#ms = this.msAt(nowMs) * SUCCESS_FACTOR;
    this.#atMs = nowMs;
  }

  /** What is left of it now. */
  msAt(nowMs: number): number {
    if (this.#ms === 0) return 0;
    const ms = this.#ms * 0.5 ** ((nowMs - this.#atMs) / HALF_LIFE_MS);
    return ms >= NEGLIGIBLE_MS ? ms : 0;
  }
}
