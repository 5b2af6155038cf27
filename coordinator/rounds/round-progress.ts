// How far a campaign is: edges by bucket, bytes, losses, and when it may be over. Read off its
// state, for whoever watches. Pure.
import {
  type BucketName,
  buckets,
  type CampaignState,
  type EdgeRound,
  isOver,
  type RegionRound,
  type RoundState,
} from "./campaign-state.ts";

export interface EdgesProgress {
  /** How many edges are in each bucket. */
  readonly buckets: Readonly<Record<BucketName, number>>;
  /** Bytes of deltas that have arrived. */
  readonly deltaBytes: number;
  /** Means of the included edges, weighted by examples; null while there is none. */
  readonly lossBefore: number | null;
  readonly lossAfter: number | null;
  /** Mean of the training steps that are being made; null while there is none. */
  readonly loss: number | null;
  /** Share of all steps that are done, 0 to 1. */
  readonly stepShare: number;
}

export interface RegionProgress extends EdgesProgress {
  readonly region: string;
  readonly phase: RegionRound["phase"];
  readonly reason: string;
  readonly goal: number;
}

export interface RoundProgress extends EdgesProgress {
  readonly number: number;
  readonly phase: RoundState["phase"];
  readonly elapsedMs: number;
  readonly regions: readonly RegionProgress[];
  /** Until the deltas that are wanted are here, as fast as it goes now; null: nobody knows. */
  readonly etaMs: number | null;
  /** Until the deadline for deltas; null once they are here. */
  readonly leftMs: number | null;
}

export interface CampaignProgress {
  readonly round: RoundProgress | null;
  readonly roundsDone: number;
  readonly roundsPromoted: number;
  /** Until the last round is over, if each takes as long as those before; null: nobody knows. */
  readonly etaMs: number | null;
}

export function progressOfCampaign(campaign: CampaignState, nowMs: number): CampaignProgress {
  const { past, round } = campaign;
  return {
    round: round === null ? null : progressOfRound(round, nowMs),
    roundsDone: past.length,
    roundsPromoted: past.filter(({ phase }) => phase === "promoted").length,
    etaMs: etaOfCampaign(campaign, nowMs),
  };
}

function progressOfRound(round: RoundState, nowMs: number): RoundProgress {
  const isWaiting = round.phase === "offered" || round.phase === "training";
  const leftMs = isWaiting ? Math.max(0, round.deadlineMs - nowMs) : null;
  const etaMs = isWaiting ? etaOfRound(round, nowMs) : null;
  return {
    number: round.number,
    phase: round.phase,
    elapsedMs: Math.max(0, nowMs - round.startedMs),
    ...progressOfEdges(round.regions.flatMap(({ edges }) => edges)),
    regions: round.regions.map(({ region, phase, reason, goal, edges }) => {
      return { region, phase, reason, goal, ...progressOfEdges(edges) };
    }),
    etaMs: etaMs === null || leftMs === null ? null : Math.min(etaMs, leftMs),
    leftMs,
  };
}

function progressOfEdges(edges: readonly EdgeRound[]): EdgesProgress {
  const counts = Object.fromEntries(buckets.map((bucket) => [bucket, 0]));
  for (const { bucket } of edges) counts[bucket]! += 1;
  const included = edges.filter(({ bucket }) => bucket === "included");
  const running = edges.filter(({ bucket, step }) => bucket === "training" && step > 0);
  const arrived = edges.map((edge) => Math.max(edge.deltaBytes, edge.receivedBytes));
  return {
    buckets: counts as Record<BucketName, number>,
    deltaBytes: arrived.reduce((sum, bytes) => sum + bytes, 0),
    lossBefore: meanOf(included, ({ lossBefore }) => lossBefore, weightOf),
    lossAfter: meanOf(included, ({ lossAfter }) => lossAfter, weightOf),
    loss: meanOf(
      running,
      ({ loss }) => loss,
      () => 1,
    ),
    stepShare: meanOf(edges, stepShareOf, () => 1) ?? 0,
  };
}

const weightOf = ({ examples }: EdgeRound) => examples;

function stepShareOf({ bucket, step, steps }: EdgeRound): number {
  if (bucket !== "training") return 1;
  return steps === 0 ? 0 : Math.min(1, step / steps);
}

function meanOf(
  edges: readonly EdgeRound[],
  of: (edge: EdgeRound) => number,
  weight: (edge: EdgeRound) => number,
): number | null {
  const total = edges.reduce((sum, edge) => sum + weight(edge), 0);
  return total === 0 ? null : edges.reduce((sum, edge) => sum + of(edge) * weight(edge), 0) / total;
}

/** When the slowest of the edges that are wanted is done, at the pace of its steps so far. */
function etaOfRound(round: RoundState, nowMs: number): number | null {
  const elapsedMs = nowMs - round.startedMs;
  let slowestMs: number | null = null;
  for (const { phase, goal, edges } of round.regions) {
    if (phase !== "open") continue;
    const included = edges.filter(({ bucket }) => bucket === "included").length;
    const running = edges.filter(({ bucket }) => bucket === "training");
    const etasMs = running
      .map(({ step, steps }) => (step === 0 ? Infinity : (elapsedMs / step) * (steps - step)))
      .sort((a, b) => a - b);
    const wanted = goal === 0 ? etasMs.length : Math.min(etasMs.length, goal - included);
    if (wanted > 0) slowestMs = Math.max(slowestMs ?? 0, etasMs[wanted - 1]!);
  }
  return slowestMs === Infinity ? null : slowestMs;
}

function etaOfCampaign(campaign: CampaignState, nowMs: number): number | null {
  const { past, round, rounds } = campaign;
  if (isOver(campaign)) return 0;
  if (past.length === 0) return null;
  const spentMs = past.reduce((sum, { startedMs, endedMs }) => sum + endedMs - startedMs, 0);
  const meanMs = spentMs / past.length;
  const elapsedMs = round === null ? 0 : nowMs - round.startedMs;
  const presentMs = round === null ? 0 : Math.max(0, meanMs - elapsedMs);
  const still = rounds - past.length - (round === null ? 0 : 1);
  return presentMs + still * meanMs;
}
