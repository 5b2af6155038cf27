// One edge with one model, as routing keeps it: what the edge said, and what was sent since.
import { type ModelState, ModelStatus } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { MemberStatus } from "../membership/member.ts";
import type { HeldPrefixes } from "./held-prefixes.ts";
import type { ModelColumns } from "./model-columns.ts";
import { StepPace } from "./step-pace.ts";
import { TrackRecord } from "./track-record.ts";

/** Dispatches remembered as perhaps too late for the last report. */
const RECENT_MAX = 256;
/** A report was written a moment before it came. */
const REPORT_LAG_MS = 5;

/** One edge; its lanes are its models. */
export interface EdgeRow {
  readonly edge: string;
  /** `region/edge`. */
  readonly key: string;
  /** Small and dense, for tables indexed by edge; another edge may get it later. */
  readonly row: number;
  readonly incarnation: bigint;
  readonly lanes: Lane[];
  status: MemberStatus;
  statusReason: string;
  rttMs: number;
  hasGpu: boolean;
  /** Free for loading: of the GPU where there is one. */
  freeBytes: number;
  watts: number;
  costPerHour: number;
  isPreemptible: boolean;
  /** Routing revision of the last report, if nothing at all is under way there; else 0. */
  idleRevision: number;
}

/** A request under way. */
export interface Underway {
  readonly sentMs: number;
  isOver: boolean;
}

export class Lane {
  readonly edge: EdgeRow;
  readonly columns: ModelColumns;
  readonly held: HeldPrefixes;
  readonly pace = new StepPace();
  readonly record = new TrackRecord();
  /** Its place in the columns; -1 once it is gone. */
  at = -1;

  version = "";
  versionNo = 0;
  status: ModelStatus = ModelStatus.UNSPECIFIED;
  reason = "";
  slots = 1;
  queueMax = 0;
  active = 0;
  queued = 0;
  prefilling = 0;
  prefillTokensPerS = 0;
  remainingTokensMean = 0;
  interTokenP99Ms = 0;
  loadMs = 0;
  neededBytes = 0;

  inFlight = 0;
  /** Of those in flight, the ones that the last report counts. */
  reported = 0;
  /** Prompts sent there that are not read yet, and their tokens. */
  unread = 0;
  unreadTokens = 0;
  /** When a load that this region brought about should be done. */
  loadedAtMs = -Infinity;
  #recent: Underway[] = [];

  /** As last estimated (lane-estimate.ts). */
  queueMs = 0;
  waitLoadMs = 0;
  stepMs = 0;
  /** The report that last told of it. */
  beat = 0;

  constructor(edge: EdgeRow, columns: ModelColumns, held: HeldPrefixes) {
    this.edge = edge;
    this.columns = columns;
    this.held = held;
  }

  /** Requests there, running and waiting, with what was sent since its report. */
  get busy(): number {
    return Math.max(0, this.active + this.queued + this.inFlight - this.reported);
  }

  /** Whether the same report again would change nothing. */
  get isIdle(): boolean {
    const isUnused = this.active + this.queued + this.inFlight + this.reported === 0;
    const isSound = this.record.phase === "in" && !this.record.hasPenalty;
    return isUnused && isSound && this.status === ModelStatus.READY;
  }

  /** Whether it serves the model, or would once loaded. */
  get isServable(): boolean {
    const { READY, STORED } = ModelStatus;
    return (
      this.status === READY ||
      (this.status === STORED && this.fits) ||
      (this.status === ModelStatus.LOADING && this.loadedAtMs > -Infinity)
    );
  }

  get fits(): boolean {
    return this.neededBytes <= this.edge.freeBytes;
  }

  take(state: ModelState, nowMs: number): void {
    this.status = state.status;
    this.reason = state.reason;
    this.slots = Math.max(1, state.slots);
    if (state.concurrencyLimit > 0) this.slots = Math.min(this.slots, state.concurrencyLimit);
    this.queueMax = state.queueMax;
    this.active = state.active;
    this.queued = state.queued;
    this.prefilling = state.prefilling;
    this.prefillTokensPerS = state.prefillTokensPerS;
    this.remainingTokensMean = state.remainingTokensMean;
    this.interTokenP99Ms = state.interTokenP99Ms;
    this.loadMs = state.loadMs;
    this.neededBytes = state.status === ModelStatus.READY ? 0 : Number(state.memoryNeededBytes);
    if (state.status === ModelStatus.READY) this.loadedAtMs = -Infinity;
    this.pace.measured(state.decodeTokensPerS, state.active);
    if (state.prefixes !== undefined) this.held.told(state.prefixes.blocks, nowMs);
    this.#settle(nowMs);
  }

  sent(underway: Underway): void {
    this.inFlight += 1;
    this.edge.idleRevision = 0;
    if (this.#recent.length >= RECENT_MAX) this.#recent.shift();
    this.#recent.push(underway);
  }

  /** What is in flight now is in the report, but for what can't have been there yet. */
  #settle(nowMs: number): void {
    this.reported = this.inFlight;
    if (this.#recent.length === 0) return;
    const sinceMs = nowMs - this.edge.rttMs - REPORT_LAG_MS;
    this.#recent = this.#recent.filter(({ sentMs, isOver }) => !isOver && sentMs > sinceMs);
    this.reported -= this.#recent.length;
  }
}
