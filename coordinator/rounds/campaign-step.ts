// The campaign's decisions: given its state, what happened, and the time, the state after. Pure.
//
// Rounds go planned → offered → training → collecting → merging → evaluating → canary → promoted;
// or end as abandoned (nothing to judge) or rejected (judged, and refused). A late or repeated
// event changes nothing, so that every step may be told again after a crash.
//
// The canary is the one edge that evaluates the candidate beside the served version, exactly as it
// would be served. What passes the gate there goes to every edge at once; there are no waves yet.
import type { CampaignEvent, RegionReport } from "./campaign-event.ts";
import {
  type BucketName,
  type CampaignState,
  isOver,
  type RegionRound,
  type RoundPhase,
  type RoundState,
} from "./campaign-state.ts";
import { gate } from "./gate.ts";
import { summarize } from "./round-summary.ts";

/** Rejected rounds that end a campaign. */
const REJECTIONS_MAX = 2;
/** Abandoned rounds in a row that end a campaign. */
const ABANDONED_IN_ROW_MAX = 3;
/** After the deadline, how long a region may take for its last word; no longer than the round. */
const GRACE_MAX_MS = 15_000;

/** When a round stops waiting for the regions. */
export function patienceEndsMs(campaign: CampaignState, round: RoundState): number {
  return round.deadlineMs + Math.min(GRACE_MAX_MS, campaign.pace.deadlineMs);
}

export function step(campaign: CampaignState, event: CampaignEvent, nowMs: number): CampaignState {
  if (isOver(campaign)) return campaign;
  return advance(apply(campaign, event, nowMs), nowMs);
}

function apply(campaign: CampaignState, event: CampaignEvent, nowMs: number): CampaignState {
  switch (event.kind) {
    case "tick":
      return campaign;
    case "stopped":
      return end(
        closed(campaign, "abandoned", event.reason, nowMs),
        "stopped",
        event.reason,
        nowMs,
      );
    case "measured":
      return measured(campaign, event, nowMs);
    case "reported":
      return reported(campaign, event.report);
    default:
      return inRound(campaign, event, nowMs);
  }
}

type RoundEvent = Exclude<
  CampaignEvent,
  { kind: "tick" } | { kind: "stopped" } | { kind: "measured" } | { kind: "reported" }
>;

function inRound(campaign: CampaignState, event: RoundEvent, nowMs: number): CampaignState {
  const { round } = campaign;
  if (round === null || round.number !== event.round) return campaign;
  switch (event.kind) {
    case "pulled":
      return withRegion(campaign, event.region, (region) => {
        return region.phase === "done" ? { ...region, phase: "pulled" } : region;
      });
    case "pull-failed":
      return withRegion(campaign, event.region, (region) => {
        return region.phase === "done" ? leftOut(region, "failed", event.reason) : region;
      });
    case "merged": {
      if (round.phase !== "merging") return campaign;
      const { version, training } = event;
      return { ...campaign, round: { ...round, phase: "evaluating", version, training } };
    }
    case "rolled-out": {
      if (round.phase !== "canary" || round.stragglers !== null) return campaign;
      return { ...campaign, round: { ...round, stragglers: [...event.stragglers] } };
    }
    case "round-failed":
      return abandon(campaign, event.reason, nowMs);
  }
}

function measured(
  campaign: CampaignState,
  event: CampaignEvent & { kind: "measured" },
  nowMs: number,
): CampaignState {
  const evaluations = [...event.evaluations];
  const { round } = campaign;
  if (event.purpose === "baseline") {
    if (campaign.phase !== "measuring") return campaign;
    if (event.failed !== undefined) return end(campaign, "stopped", event.failed, nowMs);
    return startRound({ ...campaign, phase: "running", baseline: evaluations }, nowMs);
  }
  if (round === null || round.number !== event.round) return campaign;
  if (event.purpose === "candidate") {
    if (round.phase !== "evaluating") return campaign;
    if (event.failed !== undefined) return abandon(campaign, event.failed, nowMs);
    return judge({ ...campaign, round: { ...round, evaluations } }, nowMs);
  }
  if (round.phase !== "canary" || round.stragglers === null) return campaign;
  const all = [...round.evaluations, ...evaluations];
  return promote({ ...campaign, round: { ...round, evaluations: all } }, nowMs);
}

function judge(campaign: CampaignState, nowMs: number): CampaignState {
  const { baseline, round, rules } = campaign;
  const verdict = gate(baseline ?? [], round?.evaluations ?? [], rules.gateMarginPoints);
  if (verdict.passed) return withPhase(campaign, "canary");
  const rejections = campaign.rejections + 1;
  const after = { ...closed(campaign, "rejected", verdict.reason, nowMs), rejections };
  if (rejections < REJECTIONS_MAX) return nextRound(after, nowMs);
  return end(after, "stopped", `${rejections} rounds were rejected: ${verdict.reason}`, nowMs);
}

function promote(campaign: CampaignState, nowMs: number): CampaignState {
  const { round } = campaign;
  if (round?.version == null) return campaign;
  const good = { version: round.version, training: round.training };
  const promoted = { ...campaign, good, latest: round.evaluations, abandonedInRow: 0 };
  return nextRound(closed(promoted, "promoted", "", nowMs), nowMs);
}

function abandon(campaign: CampaignState, reason: string, nowMs: number): CampaignState {
  const abandonedInRow = campaign.abandonedInRow + 1;
  const after = { ...closed(campaign, "abandoned", reason, nowMs), abandonedInRow };
  if (abandonedInRow < ABANDONED_IN_ROW_MAX) return nextRound(after, nowMs);
  const why = `${abandonedInRow} rounds in a row were abandoned: ${reason}`;
  return end(after, "stopped", why, nowMs);
}

/** Ends the round under way, if any. */
function closed(
  campaign: CampaignState,
  phase: RoundPhase,
  reason: string,
  nowMs: number,
): CampaignState {
  if (campaign.round === null) return campaign;
  const regions = campaign.round.regions.map((region) => {
    const isSettled = region.phase === "pulled" || region.phase === "excluded";
    return isSettled ? region : leftOut(region, "late", reason || region.reason);
  });
  const last: RoundState = { ...campaign.round, regions, phase, reason, endedMs: nowMs };
  return { ...campaign, round: null, last, past: [...campaign.past, summarize(last)] };
}

function nextRound(campaign: CampaignState, nowMs: number): CampaignState {
  if (campaign.past.length < campaign.rounds) return startRound(campaign, nowMs);
  return end(campaign, "finished", "", nowMs);
}

function startRound(campaign: CampaignState, nowMs: number): CampaignState {
  const round: RoundState = {
    number: campaign.past.length + 1,
    phase: "planned",
    reason: "",
    startedMs: nowMs,
    deadlineMs: nowMs + campaign.pace.deadlineMs,
    endedMs: null,
    regions: campaign.regions.map((region) => {
      return { region, phase: "silent", reason: "has not answered", edges: [], partial: null };
    }),
    version: null,
    training: null,
    evaluations: [],
    stragglers: null,
  };
  return { ...campaign, round };
}

function end(
  campaign: CampaignState,
  phase: "finished" | "stopped",
  reason: string,
  nowMs: number,
): CampaignState {
  return { ...campaign, phase, reason, endedMs: nowMs };
}

function reported(campaign: CampaignState, report: RegionReport): CampaignState {
  const { round } = campaign;
  if (round === null || round.number !== report.round) return campaign;
  if (round.phase !== "planned" && round.phase !== "offered" && round.phase !== "training") {
    return campaign;
  }
  return withRegion(campaign, report.region, (region) => {
    if (region.phase !== "silent" && region.phase !== "open") return region;
    const { reason, edges, partial } = report;
    if (report.done) {
      return { ...region, phase: partial === null ? "excluded" : "done", reason, edges, partial };
    }
    const open: RegionRound = { ...region, phase: "open", reason, edges };
    return JSON.stringify(open) === JSON.stringify(region) ? region : open;
  });
}

/** Goes on through every phase whose work is done. */
function advance(campaign: CampaignState, nowMs: number): CampaignState {
  const { round } = campaign;
  if (round === null || isOver(campaign)) return campaign;
  const next = advanceOnce(campaign, round, nowMs);
  return next === campaign ? campaign : advance(next, nowMs);
}

function advanceOnce(campaign: CampaignState, round: RoundState, nowMs: number): CampaignState {
  const isPast = nowMs >= patienceEndsMs(campaign, round);
  switch (round.phase) {
    case "planned":
      return withPhase(campaign, "offered");
    case "offered":
    case "training": {
      const waiting = round.regions.some(({ phase }) => phase === "silent" || phase === "open");
      if (!waiting || isPast) return withPhase(giveUp(campaign), "collecting");
      const answered = round.regions.some(({ phase }) => phase !== "silent");
      return answered && round.phase === "offered" ? withPhase(campaign, "training") : campaign;
    }
    case "collecting":
      if (round.regions.some(({ phase }) => phase === "done")) return campaign;
      return quorumMet(campaign, round, nowMs);
    default:
      return campaign;
  }
}

function quorumMet(campaign: CampaignState, round: RoundState, nowMs: number): CampaignState {
  const pulled = round.regions.filter(({ phase }) => phase === "pulled");
  const count = pulled.reduce((sum, { partial }) => sum + (partial?.contributors.length ?? 0), 0);
  const { quorum } = campaign.pace;
  if (count >= quorum) return withPhase(campaign, "merging");
  const why = round.regions
    .filter(({ phase }) => phase !== "pulled")
    .map(({ region, reason }) => `${region}: ${reason}`);
  const reason = `${count} of at least ${quorum} edges contributed (${why.join("; ")})`;
  return abandon(campaign, reason, nowMs);
}

/** Past the deadline: whoever has not said the last word is left out, and every edge has an end. */
function giveUp(campaign: CampaignState): CampaignState {
  let next = campaign;
  for (const { region } of campaign.round?.regions ?? []) {
    next = withRegion(next, region, (state) => {
      if (state.phase !== "silent" && state.phase !== "open") return state;
      const reason = state.phase === "silent" ? "did not answer" : "said no last word in time";
      return leftOut(state, "late", reason);
    });
  }
  return next;
}

/** A region whose sum doesn't arrive: what its edges did isn't in the round. */
function leftOut(region: RegionRound, bucket: BucketName, reason: string): RegionRound {
  const edges = region.edges.map((edge) => {
    const isUnsettled = edge.bucket === "training" || edge.bucket === "included";
    return isUnsettled ? { ...edge, bucket, reason } : edge;
  });
  return { ...region, phase: "excluded", reason, edges };
}

function withRegion(
  campaign: CampaignState,
  name: string,
  next: (region: RegionRound) => RegionRound,
): CampaignState {
  const { round } = campaign;
  if (round === null) return campaign;
  const regions = round.regions.map((region) => (region.region === name ? next(region) : region));
  const isChanged = regions.some((region, i) => region !== round.regions[i]);
  return isChanged ? { ...campaign, round: { ...round, regions } } : campaign;
}

function withPhase(campaign: CampaignState, phase: RoundPhase): CampaignState {
  return campaign.round === null ? campaign : { ...campaign, round: { ...campaign.round, phase } };
}
