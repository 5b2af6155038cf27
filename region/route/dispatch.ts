// One request under way on an edge: counted against its report while it lasts, and learnt from when
// it ends.
import { ModelStatus } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { DispatchHandle, DispatchOutcome } from "./decision.ts";
import type { Lane, Underway } from "./lane.ts";
import { predictionOf, uncachedTokens } from "./lane-estimate.ts";
import { eject, isSlow, readmit } from "./outliers.ts";
import type { RouteRequest } from "./route-request.ts";

/** What an ended request teaches beyond its edge. */
export interface DispatchObserver {
  /** The lane's columns need to be worked out again. */
  changed(lane: Lane): void;
  finished(request: RouteRequest, outcome: Extract<DispatchOutcome, { kind: "finished" }>): void;
}

export class Dispatch implements DispatchHandle, Underway {
  readonly sentMs: number;
  isOver = false;
  readonly #lane: Lane;
  readonly #request: RouteRequest;
  readonly #observer: DispatchObserver;
  readonly #predictedMs: number;
  #unreadTokens: number;
  #isProbe = false;

  constructor(
    lane: Lane,
    request: RouteRequest,
    cachedTokens: number,
    nowMs: number,
    observer: DispatchObserver,
  ) {
    this.#lane = lane;
    this.#request = request;
    this.#observer = observer;
    this.sentMs = nowMs;
    this.#predictedMs = predictionOf(lane, request, cachedTokens, nowMs).ttftMs;
    this.#unreadTokens = uncachedTokens(request.promptTokens, cachedTokens);
    this.#begin(nowMs);
  }

  firstToken(nowMs: number): void {
    const lane = this.#lane;
    if (this.#unreadTokens === 0) return;
    lane.unreadTokens -= this.#unreadTokens;
    lane.unread -= 1;
    this.#unreadTokens = 0;
    if (lane.at < 0) return;
    const { columns, at } = lane;
    columns.readAtMs[at] = nowMs + lane.unreadTokens * columns.prefillMs[at]!;
  }

  ended(nowMs: number, outcome: DispatchOutcome): void {
    if (this.isOver) return;
    this.isOver = true;
    const lane = this.#lane;
    this.firstToken(nowMs);
    lane.inFlight -= 1;
    if (outcome.kind === "finished") this.#observer.finished(this.#request, outcome);
    if (lane.at < 0) return;
    this.#judge(outcome, nowMs);
    this.#observer.changed(lane);
  }

  #begin(nowMs: number): void {
    const lane = this.#lane;
    const { columns, at } = lane;
    lane.sent(this);
    lane.held.sent(this.#request.blocks, nowMs);
    this.#isProbe = lane.record.probe();
    if (lane.status === ModelStatus.STORED && lane.loadedAtMs === -Infinity) {
      lane.loadedAtMs = nowMs + lane.waitLoadMs;
    }
    const fromMs = Math.max(nowMs, columns.readAtMs[at]!, lane.loadedAtMs);
    lane.unreadTokens += this.#unreadTokens;
    lane.unread += 1;
    columns.sent(this.#unreadTokens);
    columns.readAtMs[at] = fromMs + this.#unreadTokens * columns.prefillMs[at]!;
    this.#observer.changed(lane);
  }

  #judge(outcome: DispatchOutcome, nowMs: number): void {
    const lane = this.#lane;
    const { columns, record } = lane;
    if (outcome.kind === "cancelled") {
      if (this.#isProbe) record.abandoned();
      return;
    }
    if (outcome.kind === "fault") {
      if (record.failed(outcome.code, this.#isProbe, nowMs)) eject(columns, lane, nowMs);
      return;
    }
    record.succeeded(nowMs);
    if (this.#isProbe) readmit(columns, lane);
    if (outcome.kind === "answered") return;
    const { ttftMs } = outcome;
    const measured = { ttftMs, predictedMs: this.#predictedMs, isProbe: this.#isProbe };
    record.timed(measured.ttftMs, measured.predictedMs);
    if (!isSlow(columns, lane, measured)) return;
    record.cause = "answers far later than predicted, unlike its peers";
    eject(columns, lane, nowMs);
  }
}
