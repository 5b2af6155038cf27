// What a round came to, in numbers. Pure.
import type { EdgeRound, RoundState, RoundSummary } from "./campaign-state.ts";

export function summarize(round: RoundState): RoundSummary {
  const edges = round.regions.flatMap((region) => region.edges);
  const included = edges.filter(({ bucket }) => bucket === "included");
  const counts: Record<string, number> = {};
  for (const { bucket } of edges) counts[bucket] = (counts[bucket] ?? 0) + 1;
  return {
    number: round.number,
    phase: round.phase,
    reason: round.reason,
    startedMs: round.startedMs,
    endedMs: round.endedMs ?? round.startedMs,
    version: round.version,
    buckets: counts,
    excluded: round.regions
      .filter(({ phase }) => phase === "excluded" || phase === "silent")
      .map(({ region, reason }) => ({ region, reason })),
    leftOut: round.regions.flatMap(({ region, partial }) =>
      (partial?.leftOut ?? []).map(({ edge, reason }) => ({ edge: `${region}/${edge}`, reason })),
    ),
    examples: sum(included, (edge) => edge.examples),
    deltaBytes: sum(included, (edge) => edge.deltaBytes),
    lossBefore: meanLoss(included, (edge) => edge.lossBefore),
    lossAfter: meanLoss(included, (edge) => edge.lossAfter),
    evaluations: round.evaluations,
    stragglers: round.stragglers ?? [],
  };
}

function sum(edges: readonly EdgeRound[], of: (edge: EdgeRound) => number): number {
  return edges.reduce((total, edge) => total + of(edge), 0);
}

function meanLoss(edges: readonly EdgeRound[], of: (edge: EdgeRound) => number): number {
  const examples = sum(edges, (edge) => edge.examples);
  return examples === 0 ? 0 : sum(edges, (edge) => edge.examples * of(edge)) / examples;
}
