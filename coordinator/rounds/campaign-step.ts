// The campaign's decisions: given its state, what happened, and the time, the state after. Pure.
//
// Rounds go planned → offered → training → collecting → merging → evaluating → canary → promoted;
// or end as abandoned (nothing to judge) or rejected (judged, and refused). A late or repeated
// event changes nothing, so that every step may be told again after a crash.
//
// While a round is in its canary phase the rollout has its version: canary edges first, then waves.
// It ends as promoted, or as rolled back where callers fare worse than before.
import type { CampaignEvent, RegionReport } from "./campaign-event.ts";
import { type CampaignState, isOver, type RoundPhase, type RoundState } from "./campaign-state.ts";
import { gate } from "./gate.ts";
import {
  leftOut,
  silentRegions,
  withGoals,
  withoutTheSilent,
  withRegion,
  withReport,
} from "./round-regions.ts";
import { summarize } from "./round-summary.ts";

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
    case "withdrawn":
      return withdrawn(campaign, event.version, event.reason, nowMs);
    default:
      return inRound(campaign, event, nowMs);
  }
}

type RoundEvent = Exclude<
  CampaignEvent,
  { kind: "tick" | "stopped" | "measured" | "reported" | "withdrawn" }
>;

function inRound(campaign: CampaignState, event: RoundEvent, nowMs: number): CampaignState {
  const { round } = campaign;
  if (round === null || round.number !== event.round) return campaign;
  switch (event.kind) {
    case "counted":
      if (round.phase !== "planned") return campaign;
      return withRound(campaign, withGoals(round, campaign.pace.goal, event.ready));
    case "pulled":
      return withRound(
        campaign,
        withRegion(round, event.region, (region) => {
          return region.phase === "done" ? { ...region, phase: "pulled" } : region;
        }),
      );
    case "pull-failed":
      return withRound(
        campaign,
        withRegion(round, event.region, (region) => {
          return region.phase === "done" ? leftOut(region, "failed", event.reason) : region;
        }),
      );
    case "merged": {
      if (round.phase !== "merging") return campaign;
      const { version, training, clip } = event;
      const moved = clip === undefined ? campaign : { ...campaign, clip };
      return { ...moved, round: { ...round, phase: "evaluating", version, training } };
    }
    case "rolled-out": {
      if (round.phase !== "canary" || round.stragglers !== null) return campaign;
      return { ...campaign, round: { ...round, stragglers: [...event.stragglers] } };
    }
    case "rolled-back":
      return round.phase === "canary" ? reject(campaign, event, nowMs) : campaign;
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
  // The private sets once more, now that their edges serve it: what is told last holds.
  const again = new Set(evaluations.map(({ dataset }) => dataset));
  const kept = round.evaluations.filter((set) => set.public || !again.has(set.dataset));
  const all = [...kept, ...evaluations];
  return promote({ ...campaign, round: { ...round, evaluations: all } }, nowMs);
}

function judge(campaign: CampaignState, nowMs: number): CampaignState {
  const { baseline, latest, round } = campaign;
  const verdict = gate([baseline ?? [], latest ?? []], round?.evaluations ?? [], campaign.gate);
  if (verdict.passed) return withPhase(campaign, "canary");
  return reject(campaign, { kind: "rejected", reason: verdict.reason }, nowMs);
}

function reject(
  campaign: CampaignState,
  { kind, reason }: { readonly kind: "rejected" | "rolled-back"; readonly reason: string },
  nowMs: number,
): CampaignState {
  const rejections = campaign.rejections + 1;
  const after = { ...closed(campaign, kind, reason, nowMs), rejections };
  if (rejections < campaign.gate.refusalsMax) return nextRound(after, nowMs);
  return end(after, "stopped", `${rejections} rounds in a row were refused: ${reason}`, nowMs);
}

/** What the next round trains on top of is served no more: its result would be of no use. */
function withdrawn(
  campaign: CampaignState,
  version: string,
  why: string,
  nowMs: number,
): CampaignState {
  if (campaign.good.version !== version) return campaign;
  const reason = `${version} was rolled back: ${why}`;
  return end(closed(campaign, "abandoned", reason, nowMs), "stopped", reason, nowMs);
}

function promote(campaign: CampaignState, nowMs: number): CampaignState {
  const { round } = campaign;
  if (round?.version == null) return campaign;
  const good = { version: round.version, training: round.training };
  const streaks = { abandonedInRow: 0, rejections: 0 };
  const promoted = { ...campaign, ...streaks, good, latest: round.evaluations };
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
    clip: campaign.clip,
    regions: silentRegions(campaign.regions),
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
  return withRound(campaign, withReport(round, report));
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
      // A goal is split first, by the edges that are ready.
      return campaign.pace.goal === 0 ? withPhase(campaign, "offered") : campaign;
    case "offered":
    case "training": {
      const waiting = round.regions.some(({ phase }) => phase === "silent" || phase === "open");
      if (!waiting || isPast)
        return withPhase(withRound(campaign, withoutTheSilent(round)), "collecting");
      const answered = round.regions.some(
        ({ phase }) => phase !== "silent" && phase !== "excluded",
      );
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

function withRound(campaign: CampaignState, round: RoundState): CampaignState {
  return round === campaign.round ? campaign : { ...campaign, round };
}

function withPhase(campaign: CampaignState, phase: RoundPhase): CampaignState {
  return campaign.round === null ? campaign : { ...campaign, round: { ...campaign.round, phase } };
}
