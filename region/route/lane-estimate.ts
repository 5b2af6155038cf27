// Predicts what a request would take on one edge. The terms come from what the edge measured and
// reported, corrected by what was sent there since. What doesn't depend on the request is worked
// out at each change and kept in the columns; a decision adds what does.
import { ModelStatus } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { RoutePrediction, RouteTerms } from "./decision.ts";
import type { Lane } from "./lane.ts";
import { GPU, OPEN, PENALISED, PREEMPTIBLE } from "./model-columns.ts";
import type { RouteRequest } from "./route-request.ts";

/** Where nobody has measured anything. */
const PREFILL_TOKENS_PER_S = 200;
const STEP_MS = 50;
const LOAD_MS = 10_000;
const REMAINING_TOKENS = 64;
/** For changing the version in the middle of a stream. */
export const OTHER_VERSION_MS = 250;
const MS_PER_HOUR = 3_600_000;
/** Watts times milliseconds in a kilowatt-hour. */
const WATT_MS_PER_KWH = 3.6e9;

/** Brings the columns up to date with the lane. `gramsPerKwh` is the region's. */
export function estimate(lane: Lane, gramsPerKwh: number): void {
  const { at, columns, edge, slots, busy } = lane;
  const streams = Math.min(busy + 1, slots);
  const stepMs = lane.pace.isMeasured ? lane.pace.stepMsAt(streams) : columns.bestStepMs || STEP_MS;
  const ahead = Math.max(0, busy + 1 - slots);
  // A slot comes free each time one of the running streams ends.
  const turnMs = ((lane.remainingTokensMean || REMAINING_TOKENS) * stepMs) / slots;
  lane.stepMs = stepMs;
  lane.queueMs = ahead * turnMs;
  const isStored = lane.status === ModelStatus.STORED && lane.loadedAtMs === -Infinity;
  lane.waitLoadMs = isStored ? lane.loadMs || LOAD_MS : 0;
  columns.baseMs[at] = edge.rttMs + lane.queueMs + lane.waitLoadMs + stepMs;
  columns.stepMs[at] = stepMs;
  columns.prefillMs[at] =
    1000 / (lane.prefillTokensPerS || columns.bestPrefillTokensPerS || PREFILL_TOKENS_PER_S);
  columns.versionNo[at] = lane.versionNo;
  columns.gramsPerMs[at] = (edge.watts * gramsPerKwh) / WATT_MS_PER_KWH / streams;
  columns.costPerMs[at] = edge.costPerHour / MS_PER_HOUR / streams;
  mark(lane);
}

export function isFull(lane: Lane): boolean {
  return lane.busy >= lane.slots + lane.queueMax;
}

function mark(lane: Lane): void {
  const { at, columns, edge } = lane;
  const isOpen = edge.status === "ready" && lane.isServable && !lane.record.isOut && !isFull(lane);
  const isPenalised = lane.record.hasPenalty;
  const wasPenalised = (columns.flags[at]! & PENALISED) !== 0;
  if (isPenalised !== wasPenalised) columns.penalised += isPenalised ? 1 : -1;
  columns.flags[at] =
    (isOpen ? OPEN : 0) |
    (edge.hasGpu ? GPU : 0) |
    (edge.isPreemptible ? PREEMPTIBLE : 0) |
    (isPenalised ? PENALISED : 0);
}

/** Tokens of a prompt that must be read there: the last one always is. */
export function uncachedTokens(promptTokens: number, cachedTokens: number): number {
  return Math.max(1, promptTokens - cachedTokens);
}

export function termsOf(
  lane: Lane,
  request: RouteRequest,
  cachedTokens: number,
  nowMs: number,
): RouteTerms {
  const { at, columns, edge, queueMs, waitLoadMs, stepMs } = lane;
  const waitMs = Math.max(0, columns.readAtMs[at]! - nowMs);
  const loadingMs = Math.min(waitMs, Math.max(0, lane.loadedAtMs - nowMs));
  const readMs = uncachedTokens(request.promptTokens, cachedTokens) * columns.prefillMs[at]!;
  const generationMs = request.expectedTokens * stepMs;
  const { preferredVersion, policy } = request;
  const isOther = preferredVersion !== "" && lane.version !== preferredVersion;
  const workMs = readMs + generationMs;
  return {
    rttMs: edge.rttMs,
    queueMs,
    loadMs: waitLoadMs + loadingMs,
    prefillMs: readMs + waitMs - loadingMs,
    decodeMs: stepMs,
    generationMs,
    penaltyMs: lane.record.penaltyMs(nowMs),
    versionMs: isOther ? OTHER_VERSION_MS : 0,
    policyMs:
      workMs *
      (policy.msPerGram * columns.gramsPerMs[at]! + policy.msPerCost * columns.costPerMs[at]!),
  };
}

export function ttftOf({ rttMs, queueMs, loadMs, prefillMs, decodeMs }: RouteTerms): number {
  return rttMs + queueMs + loadMs + prefillMs + decodeMs;
}

export function totalOf(terms: RouteTerms): number {
  const { generationMs, penaltyMs, versionMs, policyMs } = terms;
  return ttftOf(terms) + generationMs + penaltyMs + versionMs + policyMs;
}

export function predictionOf(
  lane: Lane,
  request: RouteRequest,
  cachedTokens: number,
  nowMs: number,
): RoutePrediction {
  const terms = termsOf(lane, request, cachedTokens, nowMs);
  const { edge, version, interTokenP99Ms } = lane;
  return {
    ...{ edge: edge.edge, key: edge.key, version, cachedTokens, terms, interTokenP99Ms },
    ttftMs: ttftOf(terms),
    totalMs: totalOf(terms),
  };
}
