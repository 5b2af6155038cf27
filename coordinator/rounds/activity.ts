// What there is to do about a campaign, read off its state alone: after a crash the same state asks
// for the same work. Each activity is safe to do again. Pure.
import type { MeasurePurpose } from "./campaign-event.ts";
import { type CampaignState, isOver, type RegionPartialRef } from "./campaign-state.ts";
import { patienceEndsMs } from "./campaign-step.ts";

export type Activity =
  /** Offer the round, again and again until the region has said its last word. */
  | { readonly kind: "offer"; readonly round: number; readonly region: string }
  /** Count the edges that could be invited, for the goal to be split by. */
  | { readonly kind: "count"; readonly round: number }
  | {
      readonly kind: "pull";
      readonly round: number;
      readonly region: string;
      readonly partial: RegionPartialRef;
    }
  | { readonly kind: "merge"; readonly round: number }
  /** Evaluate a version: the public set on one edge, private ones on every edge. */
  | {
      readonly kind: "measure";
      readonly purpose: MeasurePurpose;
      readonly round: number;
      readonly version: string;
    }
  /** Make the version the desired one, and wait for the edges to report it. */
  | { readonly kind: "roll-out"; readonly round: number; readonly version: string }
  /** Look again at a time. */
  | { readonly kind: "wake"; readonly round: number; readonly atMs: number };

/** Names an activity: as long as the state asks for the same one, it goes on. */
export function activityKey(activity: Activity): string {
  const { kind, round } = activity;
  switch (activity.kind) {
    case "offer":
    case "pull":
      return `${kind}/${round}/${activity.region}`;
    case "measure":
      return `${kind}/${round}/${activity.purpose}`;
    default:
      return `${kind}/${round}`;
  }
}

export function activitiesOf(campaign: CampaignState): readonly Activity[] {
  if (isOver(campaign)) return [];
  const { round } = campaign;
  if (campaign.phase === "measuring") {
    const version = campaign.startVersion;
    return [{ kind: "measure", purpose: "baseline", round: 0, version }];
  }
  if (round === null) return [];
  const { number } = round;
  switch (round.phase) {
    case "planned":
      return [{ kind: "count", round: number }];
    case "offered":
    case "training":
      return [
        { kind: "wake", round: number, atMs: patienceEndsMs(campaign, round) },
        ...offersOf(campaign),
        ...pullsOf(campaign),
      ];
    case "collecting":
      return pullsOf(campaign);
    case "merging":
      return [{ kind: "merge", round: number }];
    case "evaluating":
    case "canary": {
      const version = round.version ?? "";
      if (round.phase === "canary" && round.stragglers === null) {
        return [{ kind: "roll-out", round: number, version }];
      }
      const purpose = round.phase === "canary" ? "served" : "candidate";
      return [{ kind: "measure", purpose, round: number, version }];
    }
    default:
      return [];
  }
}

function offersOf({ round }: CampaignState): Activity[] {
  const open = round?.regions.filter(({ phase }) => phase === "silent" || phase === "open") ?? [];
  return open.map(({ region }) => ({ kind: "offer", round: round?.number ?? 0, region }));
}

function pullsOf({ round }: CampaignState): Activity[] {
  return (round?.regions ?? []).flatMap(({ region, phase, partial }) => {
    if (phase !== "done" || partial === null) return [];
    return [{ kind: "pull" as const, round: round?.number ?? 0, region, partial }];
  });
}
