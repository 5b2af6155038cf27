// What `isthmus rounds watch` shows of a campaign under way: one line that says how far it is, and
// below it, on a terminal, each region's edges by bucket, bytes and losses. Pure.
import type { CampaignState } from "../rounds/campaign-state.ts";
import type {
  CampaignProgress,
  EdgesProgress,
  RegionProgress,
  RoundProgress,
} from "../rounds/round-progress.ts";
import { durationText } from "./duration.ts";
import { bytesText, table } from "./terminal.ts";

/** A campaign as the coordinator tells it. */
export type CampaignView = CampaignState & { readonly progress: CampaignProgress };

export interface Panel {
  readonly text: string;
  /** Changes when the line is worth another one where lines stay. */
  readonly milestone: string;
  readonly details: readonly string[];
}

export function panelOf(campaign: CampaignView): Panel {
  const { progress, rounds, round, startVersion } = campaign;
  if (campaign.phase === "measuring") {
    const text = `measuring ${startVersion} before the first round`;
    return { text, milestone: "measuring", details: [] };
  }
  if (progress.round === null) {
    return { text: campaign.phase, milestone: campaign.phase, details: [] };
  }
  const { number, phase } = progress.round;
  const title = `round ${number} of ${rounds}: ${phase}`;
  const parts = isCollecting(phase) ? edgeParts(progress.round) : [round?.version ?? ""];
  const after = progress.etaMs === null ? "" : `all rounds in about ${span(progress.etaMs)}`;
  const text = [title, ...parts, ...timeParts(progress.round), after];
  return {
    text: text.filter((part) => part !== "").join("; "),
    milestone: `${number} ${phase} ${concluded(progress.round)}`,
    details: isCollecting(phase) ? regionLines(progress.round.regions) : [],
  };
}

function isCollecting(phase: RoundProgress["phase"]): boolean {
  return ["offered", "training", "collecting"].includes(phase);
}

function edgeParts(progress: RoundProgress): string[] {
  const { buckets, deltaBytes } = progress;
  const counts = Object.entries(buckets).filter(([, count]) => count > 0);
  if (counts.length === 0) return ["no edge has answered yet"];
  const { training } = buckets;
  const percent = training > 0 ? ` (${Math.floor(100 * progress.stepShare)} % of the steps)` : "";
  const edges = counts.map(([bucket, count]) => `${count} ${bucket}`).join(", ");
  return [edges + percent, deltaBytes > 0 ? bytesText(deltaBytes) : "", lossText(progress)];
}

function timeParts({ etaMs, leftMs, elapsedMs }: RoundProgress): string[] {
  if (leftMs === null) return [`${span(elapsedMs)} so far`];
  const limit = `at most ${span(leftMs)} left`;
  return [etaMs === null || etaMs >= leftMs ? limit : `about ${span(etaMs)} left, ${limit}`];
}

function lossText({ lossBefore, lossAfter, loss }: EdgesProgress): string {
  if (lossBefore !== null && lossAfter !== null) {
    return `loss ${lossBefore.toFixed(3)} → ${lossAfter.toFixed(3)}`;
  }
  return loss === null ? "" : `loss ${loss.toFixed(3)} so far`;
}

function regionLines(regions: readonly RegionProgress[]): string[] {
  const rows = regions.map((region) => {
    const { buckets, deltaBytes, goal, phase, stepShare } = region;
    const edges = Object.values(buckets).map((count) => (count === 0 ? "-" : String(count)));
    const percent = `${Math.floor(100 * stepShare)} %`;
    const wanted = goal === 0 ? "all" : String(goal);
    return [
      region.region,
      phase,
      wanted,
      ...edges,
      percent,
      deltaBytes === 0 ? "-" : bytesText(deltaBytes),
      lossText(region).replace("loss ", ""),
    ];
  });
  const names = ["training", "included", "late", "failed", "quarantined", "declined"];
  const head = ["region", "state", "goal", ...names, "steps", "bytes", "loss"];
  return table(head, rows).split("\n");
}

/** Edges that have come to an end: each is worth a line. */
function concluded({ buckets }: RoundProgress): number {
  const all = Object.values(buckets).reduce((sum, count) => sum + count, 0);
  return all - buckets.training;
}

function span(ms: number): string {
  return durationText(ms);
}
