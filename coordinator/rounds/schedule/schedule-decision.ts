// Decides whether a model's schedule starts a campaign now. Pure.
import type { CampaignTrigger } from "../campaign-trigger.ts";
import type { DriftingEdge } from "./drifting-edges.ts";
import type { Schedule } from "./schedule-record.ts";

/** Edges that a record names; more are only counted. */
const EDGES_NAMED_MAX = 16;

export interface ScheduleSight {
  readonly nowMs: number;
  /** The model's campaign under way. */
  readonly open: string | null;
  /** When the model's last campaign ended; null when it never had one. */
  readonly endedMs: number | null;
  readonly drifting: readonly DriftingEdge[];
}

export type ScheduleDecision =
  | { readonly kind: "wait" }
  | { readonly kind: "start"; readonly trigger: CampaignTrigger }
  /** Due by the clock, but it can't be: this turn is left out, and the record says why. */
  | { readonly kind: "skip"; readonly reason: string };

export function decideSchedule(schedule: Schedule, sight: ScheduleSight): ScheduleDecision {
  if (schedule.removed) return { kind: "wait" };
  const { nextMs } = schedule;
  if (nextMs !== null && sight.nowMs >= nextMs) {
    if (sight.open !== null) return { kind: "skip", reason: `${sight.open} was under way` };
    return { kind: "start", trigger: { kind: "schedule", dueMs: nextMs } };
  }
  return decideDrift(schedule, sight);
}

function decideDrift(schedule: Schedule, sight: ScheduleSight): ScheduleDecision {
  const { drifting, open, endedMs, nowMs } = sight;
  if (schedule.onDrift !== "start" || open !== null) return { kind: "wait" };
  if (drifting.length < schedule.driftingEdges) return { kind: "wait" };
  const isCooling = endedMs !== null && nowMs < endedMs + schedule.cooldownMs;
  if (isCooling) return { kind: "wait" };
  const edges = drifting.slice(0, EDGES_NAMED_MAX).map(({ edge }) => edge);
  const score = Math.max(...drifting.map((one) => one.score));
  return { kind: "start", trigger: { kind: "drift", edges, count: drifting.length, score } };
}
