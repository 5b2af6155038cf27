// How an edge has fared lately with a model: what recent failures add to its predictions, how much
// longer it takes than predicted, and whether it is ejected. An edge that fails fast is idle and
// would look like the best of all; this makes it worse, then takes it out.
//
// An ejected edge comes back after a hold-down that grows with each ejection, on trial: it gets one
// request, and whether that succeeds decides. How many may be out at once is outliers.ts's rule.
import type { FaultCode } from "../../proto/fault.ts";
import { FadingPenalty } from "./fading-penalty.ts";

/** Faults in a row that take an edge out. */
export const FAULTS_MAX = 3;
export const HOLD_MS = 1000;
export const HOLD_MAX_MS = 60_000;
/** After so long without one, the next ejection is as the first. */
const FORGIVE_MS = 60_000;
const SLOWNESS_WEIGHT = 0.2;
/** Answers that must have been measured before an edge can be called slow. */
const SLOWNESS_SAMPLES_MIN = 8;

/** Faults that say that something is wrong with the edge. */
const counted: ReadonlySet<FaultCode> = new Set([
  "unavailable",
  "link-lost",
  "engine-crashed",
  "internal",
]);

/** in: as any other. out: ejected. trial: may get one request. probed: that one is under way. */
export type RecordPhase = "in" | "out" | "trial" | "probed";

export class TrackRecord {
  phase: RecordPhase = "in";
  /** When it may come back on trial. */
  untilMs = 0;
  cause = "";
  #level = 0;
  #ejectedMs = -Infinity;
  #faults = 0;
  readonly #penalty = new FadingPenalty();
  #slowness = 0;
  #answers = 0;

  get isOut(): boolean {
    return this.phase === "out" || this.phase === "probed";
  }

  get hasPenalty(): boolean {
    return this.#penalty.isAny;
  }

  penaltyMs(nowMs: number): number {
    return this.#penalty.msAt(nowMs);
  }

  /** Mean logarithm of measured to predicted time to first token; null while hardly measured. */
  slowness(samplesMin: number = SLOWNESS_SAMPLES_MIN): number | null {
    return this.#answers >= samplesMin ? this.#slowness : null;
  }

  /** Notes a failure, of the one request on trial or another. True when it should be ejected. */
  failed(code: FaultCode, isProbe: boolean, nowMs: number): boolean {
    this.#penalty.failed(code, nowMs);
    if (!counted.has(code)) {
      if (isProbe) this.abandoned();
      return false;
    }
    this.#faults += 1;
    // What fails when it is out already was sent before.
    if (this.phase !== "in" && !isProbe) return false;
    this.cause = `${this.#faults} faults in a row, the last ${code}`;
    return isProbe || this.#faults >= FAULTS_MAX;
  }

  /** Notes that a request went well. */
  succeeded(nowMs: number): void {
    this.#faults = 0;
    this.#penalty.succeeded(nowMs);
  }

  /** Notes how long a first token took, against what was predicted. */
  timed(ttftMs: number, predictedMs: number): void {
    const ratio = Math.log(Math.max(ttftMs, 1) / Math.max(predictedMs, 1));
    const weight = Math.max(SLOWNESS_WEIGHT, 1 / (this.#answers + 1));
    this.#slowness += weight * (ratio - this.#slowness);
    this.#answers += 1;
  }

  /** The request on trial ended by itself: the next one decides. */
  abandoned(): void {
    if (this.phase === "probed") this.phase = "trial";
  }

  eject(nowMs: number): void {
    if (nowMs - this.#ejectedMs > FORGIVE_MS + this.#holdMs) this.#level = 0;
    this.phase = "out";
    this.untilMs = nowMs + this.#holdMs;
    this.#ejectedMs = nowMs;
    this.#level += 1;
    this.#slowness = 0;
    this.#answers = 0;
  }

  /** Lets it back for one request. */
  release(): void {
    this.phase = "trial";
  }

  /** A request is sent there. True when it is the one on trial. */
  probe(): boolean {
    if (this.phase !== "trial") return false;
    this.phase = "probed";
    return true;
  }

  /** The trial went well. */
  readmit(): void {
    this.phase = "in";
  }

  get #holdMs(): number {
    return Math.min(HOLD_MS * 2 ** this.#level, HOLD_MAX_MS);
  }
}
