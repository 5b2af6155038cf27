// What the edges of one model come to, for those who choose among regions.
import type { Lane } from "./lane.ts";
import type { ModelColumns } from "./model-columns.ts";

export interface ModelSummary {
  readonly edgesReady: number;
  readonly edgesWithGpu: number;
  readonly slots: number;
  readonly freeSlots: number;
  readonly queued: number;
  /** Of the edge that would begin a short prompt soonest; null when none is ready. */
  readonly best: {
    readonly edge: string;
    readonly version: string;
    readonly ttftMs: number;
    /** Until it would begin to read: for a slot, a load, and prompts before it. */
    readonly queueMs: number;
    readonly prefillTokensPerS: number;
    readonly decodeTokensPerS: number;
  } | null;
}

/** The prompt for which the best edge is told. */
const SHORT_PROMPT_TOKENS = 64;

export function summarizeModel(columns: ModelColumns, nowMs: number): ModelSummary {
  let [edgesReady, edgesWithGpu, slots, freeSlots, queued] = [0, 0, 0, 0, 0];
  let best: Lane | null = null;
  let bestMs = Infinity;
  for (const lane of columns.lanes) {
    if (lane.edge.status !== "ready" || !lane.isServable) continue;
    edgesReady += 1;
    if (lane.edge.hasGpu) edgesWithGpu += 1;
    slots += lane.slots;
    freeSlots += Math.max(0, lane.slots - lane.busy);
    queued += Math.max(0, lane.busy - lane.slots);
    const { at } = lane;
    const ttftMs =
      columns.baseMs[at]! + waitMs(lane, nowMs) + SHORT_PROMPT_TOKENS * columns.prefillMs[at]!;
    if (ttftMs >= bestMs) continue;
    bestMs = ttftMs;
    best = lane;
  }
  const counts = { edgesReady, edgesWithGpu, slots, freeSlots, queued };
  if (best === null) return { ...counts, best: null };
  const { edge, version, queueMs, waitLoadMs, stepMs, at } = best;
  return {
    ...counts,
    best: {
      ...{ edge: edge.edge, version, ttftMs: bestMs },
      queueMs: queueMs + waitLoadMs + waitMs(best, nowMs),
      prefillTokensPerS: 1000 / columns.prefillMs[at]!,
      decodeTokensPerS: 1000 / stepMs,
    },
  };
}

function waitMs({ columns, at }: Lane, nowMs: number): number {
  return Math.max(0, columns.readAtMs[at]! - nowMs);
}
