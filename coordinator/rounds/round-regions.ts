// What becomes of the regions of a round: the goal split among them, their reports, and their end.
// Pure; a change that changes nothing gives the same round.
import type { RegionReport } from "./campaign-event.ts";
import type { BucketName, RegionRound, RoundState } from "./campaign-state.ts";
import { goalShares, type ReadyRegion } from "./goal-shares.ts";

/** The regions as a round begins. */
export function silentRegions(names: readonly string[]): RegionRound[] {
  return names.map((region) => {
    const reason = "has not answered";
    return { region, phase: "silent", reason, goal: 0, edges: [], partial: null };
  });
}

/** Splits the goal by the edges that are ready; whoever isn't needed is out from the start. */
export function withGoals(
  round: RoundState,
  goal: number,
  ready: readonly ReadyRegion[],
): RoundState {
  const known = new Map(ready.map((one) => [one.region, one.ready]));
  const counts = round.regions.map(({ region }) => ({ region, ready: known.get(region) ?? 0 }));
  const shares = new Map(goalShares(goal, counts, round.number).map((one) => [one.region, one]));
  const regions = round.regions.map((region): RegionRound => {
    const share = shares.get(region.region)?.goal ?? 0;
    if (share > 0) return { ...region, goal: share };
    const why = known.get(region.region) === 0 ? "no edge was ready" : "not needed";
    return { ...region, phase: "excluded", reason: `${why} for a goal of ${goal} deltas` };
  });
  return { ...round, phase: "offered", regions };
}

export function withReport(round: RoundState, report: RegionReport): RoundState {
  return withRegion(round, report.region, (region) => {
    if (region.phase !== "silent" && region.phase !== "open") return region;
    const { reason, edges, partial } = report;
    if (report.done) {
      return { ...region, phase: partial === null ? "excluded" : "done", reason, edges, partial };
    }
    const open: RegionRound = { ...region, phase: "open", reason, edges };
    return JSON.stringify(open) === JSON.stringify(region) ? region : open;
  });
}

/** Past the deadline: whoever has not said the last word is left out, and every edge has an end. */
export function withoutTheSilent(round: RoundState): RoundState {
  const regions = round.regions.map((region) => {
    if (region.phase !== "silent" && region.phase !== "open") return region;
    const reason = region.phase === "silent" ? "did not answer" : "said no last word in time";
    return leftOut(region, "late", reason);
  });
  return { ...round, regions };
}

/** A region whose sum doesn't arrive: what its edges did isn't in the round. */
export function leftOut(region: RegionRound, bucket: BucketName, reason: string): RegionRound {
  const edges = region.edges.map((edge) => {
    const isUnsettled = edge.bucket === "training" || edge.bucket === "included";
    return isUnsettled ? { ...edge, bucket, reason } : edge;
  });
  return { ...region, phase: "excluded", reason, edges };
}

export function withRegion(
  round: RoundState,
  name: string,
  next: (region: RegionRound) => RegionRound,
): RoundState {
  const regions = round.regions.map((region) => (region.region === name ? next(region) : region));
  const isChanged = regions.some((region, i) => region !== round.regions[i]);
  return isChanged ? { ...round, regions } : round;
}
