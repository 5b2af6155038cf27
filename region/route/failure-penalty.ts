// Milliseconds that recent failures add to an edge's prediction. An edge that fails fast is idle,
// and would look like the best of all; this makes it worse, for a while.
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

interface Score {
  readonly ms: number;
  readonly atMs: number;
}

export class FailurePenalty {
  readonly #scores = new Map<string, Score>();

  failed(edge: string, code: FaultCode, nowMs: number): void {
    const added = penaltyOf[code] ?? 0;
    if (added === 0) return;
    const ms = Math.min(this.of(edge, nowMs) + added, PENALTY_MAX_MS);
    this.#scores.set(edge, { ms, atMs: nowMs });
  }

  succeeded(edge: string, nowMs: number): void {
    if (!this.#scores.has(edge)) return;
    this.#scores.set(edge, { ms: this.of(edge, nowMs) * SUCCESS_FACTOR, atMs: nowMs });
  }

  /** What is left of it now. */
  of(edge: string, nowMs: number): number {
    const score = this.#scores.get(edge);
    if (score === undefined) return 0;
    const ms = score.ms * 0.5 ** ((nowMs - score.atMs) / HALF_LIFE_MS);
    if (ms >= NEGLIGIBLE_MS) return ms;
    this.#scores.delete(edge);
    return 0;
  }

  forget(edge: string): void {
    this.#scores.delete(edge);
  }
}
