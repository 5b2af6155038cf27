// The choice among all edges with a model: predicts each in the columns, takes the least total, or
// at random one that is nearly as good, so that several gateways don't herd. The inner loops read
// numbers only; what most requests don't need (weights, deadlines) costs a pass of its own.
import type { Random } from "../../runtime/random.ts";
import { type BlockIndex, TOKENS_PER_BLOCK } from "./block-index.ts";
import { OTHER_VERSION_MS, uncachedTokens } from "./lane-estimate.ts";
import { GPU, type ModelColumns, OPEN, PENALISED, PREEMPTIBLE } from "./model-columns.ts";
import type { RouteRequest } from "./route-request.ts";

/** Candidates no further than this from the best, in total and to the first token, are equal. */
export const NEAR_EQUAL = 1.1;
/** A first token this much later is no later. */
export const NEAR_TTFT_MS = 2;

/** Numbers of versions: what a request asks for, as the columns hold it. */
export interface WantedVersions {
  /** Only this one; -1 for any. */
  readonly pinned: number;
  /** Rather this one; -1 for any. */
  readonly preferred: number;
}

/** Fills in the predictions of every open edge, `cachedTokens` alike; Infinity for the others. */
export function predictAll(
  columns: ModelColumns,
  request: RouteRequest,
  versions: WantedVersions,
  cachedTokens: number,
  nowMs: number,
): void {
  const { flags, baseMs, readAtMs, prefillMs, stepMs, ttftMs, totalMs, versionNo } = columns;
  const { promptTokens, expectedTokens } = request;
  const tokens = uncachedTokens(promptTokens, cachedTokens);
  const wanted = OPEN | (request.policy.gpuRequired ? GPU : 0);
  const mask = wanted | (request.priority === "batch" ? 0 : PREEMPTIBLE);
  const { pinned } = versions;
  const { count } = columns;
  for (let k = 0; k < count; k += 1) {
    if ((flags[k]! & mask) !== wanted || (pinned >= 0 && versionNo[k] !== pinned)) {
      totalMs[k] = Infinity;
      continue;
    }
    const waitMs = readAtMs[k]! - nowMs;
    const ttft = baseMs[k]! + Math.max(0, waitMs) + prefillMs[k]! * tokens;
    ttftMs[k] = ttft;
    totalMs[k] = ttft + stepMs[k]! * expectedTokens;
  }
}

/** Sets right the edges that `index.find` has just listed: they hold more, or less. */
export function creditPrefixes(
  columns: ModelColumns,
  request: RouteRequest,
  index: BlockIndex,
  found: number,
): void {
  const { prefillMs, ttftMs, totalMs } = columns;
  const { promptTokens } = request;
  const common = uncachedTokens(promptTokens, index.commonBlocks * TOKENS_PER_BLOCK);
  for (let k = 0; k < found; k += 1) {
    const place = columns.placeOf(index.rows[k]!);
    if (place < 0 || totalMs[place] === Infinity) continue;
    const tokens = uncachedTokens(promptTokens, index.blocks[k]! * TOKENS_PER_BLOCK);
    const moreMs = (tokens - common) * prefillMs[place]!;
    ttftMs[place]! += moreMs;
    totalMs[place]! += moreMs;
  }
}

/** Adds what only some requests and some moments need. Requires: prefixes credited. */
export function weigh(
  columns: ModelColumns,
  request: RouteRequest,
  versions: WantedVersions,
  nowMs: number,
): void {
  const { flags, lanes, ttftMs, totalMs, versionNo, count } = columns;
  const { policy, deadlineMs } = request;
  if (deadlineMs !== Infinity) {
    const leftMs = deadlineMs - nowMs;
    for (let k = 0; k < count; k += 1) if (ttftMs[k]! > leftMs) totalMs[k] = Infinity;
  }
  if (policy.msPerGram !== 0 || policy.msPerCost !== 0) weighWork(columns, request, nowMs);
  if (versions.preferred >= 0) {
    for (let k = 0; k < count; k += 1) {
      if (versionNo[k] !== versions.preferred) totalMs[k]! += OTHER_VERSION_MS;
    }
  }
  if (columns.penalised > 0) {
    for (let k = 0; k < count; k += 1) {
      if ((flags[k]! & PENALISED) !== 0) totalMs[k]! += lanes[k]!.record.penaltyMs(nowMs);
    }
  }
}

function weighWork(columns: ModelColumns, request: RouteRequest, nowMs: number): void {
  const { count, totalMs, ttftMs, stepMs, baseMs, readAtMs, gramsPerMs, costPerMs } = columns;
  const { msPerGram, msPerCost } = request.policy;
  for (let k = 0; k < count; k += 1) {
    const readMs = ttftMs[k]! - baseMs[k]! - Math.max(0, readAtMs[k]! - nowMs);
    const workMs = readMs + stepMs[k]! * request.expectedTokens;
    totalMs[k]! += workMs * (msPerGram * gramsPerMs[k]! + msPerCost * costPerMs[k]!);
  }
}

/** Credits the edge that a session is pinned to with what it should still hold of it. */
export function creditPin(columns: ModelColumns, place: number, savedTokens: number): void {
  const savedMs = savedTokens * columns.prefillMs[place]!;
  columns.ttftMs[place]! -= savedMs;
  columns.totalMs[place]! -= savedMs;
}

/**
 * The place of the one taken; -1 for none. A pinned one stays unless it is clearly worse: that
 * others would have to read the whole conversation again is in their predictions.
 */
export function pick(columns: ModelColumns, random: Random, pinned: number): number {
  const { count, totalMs, ttftMs, near } = columns;
  let best = -1;
  let bestMs = Infinity;
  for (let k = 0; k < count; k += 1) {
    if (totalMs[k]! < bestMs) {
      bestMs = totalMs[k]!;
      best = k;
    }
  }
  if (best < 0) return -1;
  const totalMaxMs = bestMs * NEAR_EQUAL;
  const ttftMaxMs = Math.max(ttftMs[best]! * NEAR_EQUAL, ttftMs[best]! + NEAR_TTFT_MS);
  if (pinned >= 0 && totalMs[pinned]! <= totalMaxMs) return pinned;
  let equals = 0;
  for (let k = 0; k < count; k += 1) {
    if (totalMs[k]! <= totalMaxMs && ttftMs[k]! <= ttftMaxMs) {
      near[equals] = k;
      equals += 1;
    }
  }
  return near[Math.floor(random() * equals)]!;
}
