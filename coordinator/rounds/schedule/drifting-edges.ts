// Which edges say that their recent inputs are far from what they have trained on. They tell only
// a score; it is read off the regions' summaries. Pure.
import type { EdgeView } from "../../rollout/fleet.ts";

export interface DriftingEdge {
  /** `<region>/<edge>` */
  readonly edge: string;
  /** Jensen-Shannon divergence of token frequencies, in bits, 0 to 1. */
  readonly score: number;
  readonly threshold: number;
  readonly inputs: number;
}

/** By model; of living edges alone, the farthest first. */
export function driftingEdges(
  edges: readonly EdgeView[],
): ReadonlyMap<string, readonly DriftingEdge[]> {
  const found = new Map<string, DriftingEdge[]>();
  for (const { region, edge, alive } of edges) {
    if (!alive) continue;
    for (const { model, score, threshold, inputs } of edge.drift) {
      if (!(score > threshold)) continue;
      const known = found.get(model) ?? [];
      known.push({ edge: `${region}/${edge.edge}`, score, threshold, inputs });
      found.set(model, known);
    }
  }
  for (const known of found.values()) known.sort((a, b) => b.score - a.score);
  return found;
}
