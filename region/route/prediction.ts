// Predicts the time to first token of one request on one edge, term by term, in milliseconds.
import type { ModelState } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { RouteRequest, RouteTarget } from "./route-target.ts";

export interface PredictedTerms {
  readonly rttMs: number;
  /** Until a slot is free. */
  readonly queueMs: number;
  /** Until the model is loaded. */
  readonly loadMs: number;
  /** Of the part of the prompt that isn't cached, behind those sent there a moment ago. */
  readonly prefillMs: number;
  /** One step at the load that the edge would then have. */
  readonly decodeMs: number;
  readonly penaltyMs: number;
  /** For changing the version in the middle of a stream. */
  readonly versionMs: number;
}

/** What is assumed of an edge that hasn't measured itself yet. */
export interface AssumedRates {
  readonly prefillTokensPerS: number;
  readonly decodeTokensPerS: number;
}

/** Where nobody has measured anything. */
export const defaultRates: AssumedRates = { prefillTokensPerS: 200, decodeTokensPerS: 20 };
const REMAINING_TOKENS = 64;
/** How much a step slows down for each stream more: batching is nearly free, but not quite. */
const SLOWDOWN_PER_STREAM = 0.05;
const OTHER_VERSION_MS = 250;

export function predict(
  target: RouteTarget,
  model: ModelState,
  request: RouteRequest,
  assumed: AssumedRates = defaultRates,
): PredictedTerms {
  const prefillRate = positive(model.prefillTokensPerS, assumed.prefillTokensPerS);
  const decodeRate = positive(model.decodeTokensPerS, assumed.decodeTokensPerS);
  const slots = Math.max(1, model.slots);
  const busy = busyOf(target, model);
  const joining = Math.max(0, Math.min(busy + 1, slots) - model.active);
  const stepMs = (1000 / decodeRate) * (1 + SLOWDOWN_PER_STREAM * joining);
  const turnMs = (positive(model.remainingTokensMean, REMAINING_TOKENS) * stepMs) / slots;
  const uncached = Math.max(1, request.promptTokens - target.cachedTokens);
  const others = request.preferredVersion !== "" && model.version !== request.preferredVersion;
  return {
    rttMs: target.rttMs,
    queueMs: Math.max(0, busy + 1 - slots) * turnMs,
    loadMs: 0, // only loaded models are candidates; a loading one says so in its reason
    prefillMs: (uncached / prefillRate) * 1000 * (1 + Math.max(0, target.unreported)),
    decodeMs: stepMs,
    penaltyMs: target.penaltyMs,
    versionMs: others ? OTHER_VERSION_MS : 0,
  };
}

/**
 * The best rates that any of the targets has measured: an edge without any gets work, and so
 * measures itself, rather than being avoided for ever.
 */
export function ratesOf(targets: readonly RouteTarget[]): AssumedRates {
  let prefillTokensPerS = 0;
  let decodeTokensPerS = 0;
  for (const { model } of targets) {
    prefillTokensPerS = Math.max(prefillTokensPerS, model?.prefillTokensPerS ?? 0);
    decodeTokensPerS = Math.max(decodeTokensPerS, model?.decodeTokensPerS ?? 0);
  }
  return {
    prefillTokensPerS: positive(prefillTokensPerS, defaultRates.prefillTokensPerS),
    decodeTokensPerS: positive(decodeTokensPerS, defaultRates.decodeTokensPerS),
  };
}

export function totalMs(terms: PredictedTerms): number {
  const { rttMs, queueMs, loadMs, prefillMs, decodeMs, penaltyMs, versionMs } = terms;
  return rttMs + queueMs + loadMs + prefillMs + decodeMs + penaltyMs + versionMs;
}

/** Requests on the edge, running and waiting, with what was sent since its report. */
export function busyOf(target: RouteTarget, model: ModelState): number {
  return Math.max(0, model.active + model.queued + target.unreported);
}

function positive(value: number, otherwise: number): number {
  return value > 0 ? value : otherwise;
}
