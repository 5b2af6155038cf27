// Decides whether a candidate may be served: the public set must not lose more than a margin
// against what it was when the campaign began. Pure.
import type { Evaluation } from "../catalogue/model-record.ts";

export type GateVerdict =
  | { readonly passed: true }
  | { readonly passed: false; readonly dataset: string; readonly reason: string };

/** Exact match in points, 0 to 100. */
export function exactPoints({ exact, examples }: Evaluation): number {
  return examples === 0 ? 0 : (100 * exact) / examples;
}

/**
 * Compares each public set of the baseline with the candidate's. A set that wasn't evaluated again
 * is a refusal: what isn't measured isn't proved.
 */
export function gate(
  baseline: readonly Evaluation[],
  candidate: readonly Evaluation[],
  marginPoints: number,
): GateVerdict {
  for (const before of baseline) {
    if (!before.public) continue;
    const { dataset } = before;
    const after = candidate.find((set) => set.public && set.dataset === dataset);
    if (after === undefined || after.examples === 0) {
      return { passed: false, dataset, reason: `${dataset} was not evaluated` };
    }
    const lost = exactPoints(before) - exactPoints(after);
    if (lost <= marginPoints) continue;
    const change = `from ${exactPoints(before).toFixed(1)} to ${exactPoints(after).toFixed(1)}`;
    const reason =
      `${dataset} loses ${lost.toFixed(1)} points of exact match (${change}); ` +
      `at most ${marginPoints} may be lost`;
    return { passed: false, dataset, reason };
  }
  return { passed: true };
}
