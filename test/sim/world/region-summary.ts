// What a simulated region tells the others of its model: as the real one says it where routing is
// ours, else the same kind of figures, from what the edges last said.
import { create } from "@bufbuild/protobuf";
import { type RegionModel, RegionModelSchema } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { Member } from "../../../region/membership/member.ts";
import type { ModelSummary } from "../../../region/route/model-summary.ts";

/** Assumed of a request that is under way, where the edge says nothing. */
const REMAINING_TOKENS = 64;

/** As region/gateway/region-summary.ts makes it of the table's own figures. */
export function toldOf(model: string, { best, ...counts }: ModelSummary): RegionModel {
  const summary = create(RegionModelSchema, { model, ...counts });
  if (best === null) return summary;
  const { edge: _, ttftMs, ...figures } = best;
  return Object.assign(summary, figures, { predictedTtftMs: ttftMs });
}

export function summarize(model: string, members: Iterable<Member>): RegionModel {
  const summary = create(RegionModelSchema, { model });
  let leastMs = Infinity;
  for (const { status, heartbeat } of members) {
    const state = heartbeat.models[0];
    if (status !== "ready" || state === undefined) continue;
    const { slots, active, queued, decodeTokensPerS, prefillTokensPerS, version } = state;
    summary.edgesReady += 1;
    if (heartbeat.gpus.length > 0) summary.edgesWithGpu += 1;
    summary.slots += slots;
    summary.freeSlots += Math.max(0, slots - active - queued);
    summary.queued += queued;
    const stepMs = 1000 / Math.max(1, decodeTokensPerS);
    const remaining = state.remainingTokensMean || REMAINING_TOKENS;
    const queueMs = (Math.max(0, active + queued + 1 - slots) * remaining * stepMs) / slots;
    if (queueMs + stepMs >= leastMs) continue;
    leastMs = queueMs + stepMs;
    Object.assign(summary, { queueMs, decodeTokensPerS, prefillTokensPerS, version });
    summary.predictedTtftMs = leastMs;
  }
  return summary;
}
