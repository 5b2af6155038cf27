// Decides whether a candidate may be served: no public set, and no region's private set, may lose
// more than its margin against any of the references (the campaign's start, the served version).
// Pure.
//
// A public set that wasn't evaluated again is a refusal: what isn't measured isn't proved. Edges
// with private sets may be away, so private sets are compared over the edges that evaluated both
// times; one that no edge did, or of too few examples, is let pass and named in `unproved`.
import type { Evaluation } from "../catalogue/model-record.ts";
import type { GatePlan } from "./plan/gate-plan.ts";

export type GateMargins = Pick<
  GatePlan,
  "marginPoints" | "privateMarginPoints" | "privateExamplesMin"
>;

export type GateVerdict =
  /** `unproved` names the private sets that nothing could be concluded from. */
  | { readonly passed: true; readonly unproved: readonly string[] }
  /** `dataset` is the first that loses too much; `reason` tells of all. */
  | { readonly passed: false; readonly dataset: string; readonly reason: string };

interface Counts {
  readonly examples: number;
  readonly exact: number;
}

/** One set before and after: a public one, or a private one of one region. */
interface Comparison {
  readonly name: string;
  readonly public: boolean;
  readonly before: Counts;
  readonly after: Counts;
}

/** Exact match in points, 0 to 100. */
export function exactPoints({ exact, examples }: Counts): number {
  return examples === 0 ? 0 : (100 * exact) / examples;
}

/** Each reference is how a version did on all sets. */
export function gate(
  references: readonly (readonly Evaluation[])[],
  candidate: readonly Evaluation[],
  margins: GateMargins,
): GateVerdict {
  const losses = new Map<string, string>();
  const unproved = new Set<string>();
  for (const comparison of references.flatMap((sets) => comparisonsOf(sets, candidate))) {
    const { name, before, after } = comparison;
    if (
      !comparison.public &&
      Math.min(before.examples, after.examples) < margins.privateExamplesMin
    ) {
      unproved.add(name);
      continue;
    }
    const loss = lossOf(comparison, margins);
    // The first reference is told; a second one would say the same in other numbers.
    if (loss !== undefined && !losses.has(name)) losses.set(name, loss);
  }
  const [first] = losses.keys();
  if (first === undefined) return { passed: true, unproved: [...unproved].sort() };
  return { passed: false, dataset: first, reason: [...losses.values()].join("; ") };
}

/** In words, when it is beyond the margin. */
function lossOf(
  { name, public: isPublic, before, after }: Comparison,
  { marginPoints, privateMarginPoints }: GateMargins,
): string | undefined {
  if (isPublic && after.examples === 0) return `${name} was not evaluated`;
  const margin = isPublic ? marginPoints : privateMarginPoints;
  const lost = exactPoints(before) - exactPoints(after);
  if (lost <= margin) return undefined;
  // In examples, so that whoever reads it sees on how few a loss may stand.
  const [was, is] = [before, after].map(({ exact, examples }) => `${exact} of ${examples}`);
  return (
    `${name} loses ${lost.toFixed(1)} points of exact match (from ${was} to ${is}); ` +
    `at most ${margin} may be lost`
  );
}

function comparisonsOf(
  before: readonly Evaluation[],
  after: readonly Evaluation[],
): readonly Comparison[] {
  return before.flatMap((set) => {
    const { dataset } = set;
    const again = after.find((one) => one.dataset === dataset && one.public === set.public);
    if (!set.public) return regionalComparisons(set, again);
    const nothing = { examples: 0, exact: 0 };
    return [{ name: dataset, public: true, before: set, after: again ?? nothing }];
  });
}

/** Region by region, over the edges that evaluated the set both times. */
function regionalComparisons(before: Evaluation, after: Evaluation | undefined): Comparison[] {
  const regions = [...new Set(before.counts.map(({ edge }) => regionOf(edge)))].sort();
  return regions.map((region) => {
    const mine = before.counts.filter(({ edge }) => regionOf(edge) === region);
    const again = (after?.counts ?? []).filter(({ edge }) => {
      return mine.some((one) => one.edge === edge);
    });
    const both = mine.filter(({ edge }) => again.some((one) => one.edge === edge));
    const name = `${before.dataset} of ${region}`;
    return { name, public: false, before: total(both), after: total(again) };
  });
}

function total(counts: readonly Counts[]): Counts {
  return {
    examples: counts.reduce((sum, { examples }) => sum + examples, 0),
    exact: counts.reduce((sum, { exact }) => sum + exact, 0),
  };
}

function regionOf(edge: string): string {
  return edge.slice(0, edge.indexOf("/"));
}
