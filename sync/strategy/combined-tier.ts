// Applies a rule to the deltas of one tier: which of them count, by how much, and what takes the
// place of the others. Deltas of different ranks can't be compared number by number, so each rank
// is judged by itself; the bound on norms is one for all.
import { readDelta } from "../delta/codec/delta-numbers.ts";
import { firstComponents, rankOfLayout } from "../delta/rank-slice.ts";
import { layoutOf, type TensorMap } from "../delta/tensor-map.ts";
import { adaptiveBound } from "./norm-bound.ts";
import { blendTier, measureTier } from "./tier-files.ts";
import { TierGeometry } from "./tier-geometry.ts";
import { judgeTier, needsGeometry, type TierRule, type TierVerdict } from "./tier-verdict.ts";

/** A delta that passed its screening. */
export interface TierMember {
  readonly edge: string;
  /** Its examples, or 1 where all weigh the same. */
  readonly weight: number;
  readonly rank: number;
  readonly norm: number;
  /** The delta file. */
  readonly path: string;
}

/** What goes into the partial in one piece: an edge's delta, or one made of many. */
export interface TierPart {
  /** Sorts the sum. */
  readonly name: string;
  readonly edges: readonly string[];
  readonly weight: number;
  readonly rank: number;
  /** What the delta is multiplied by. */
  readonly factor: number;
  /** The delta file; null for a delta made of many. */
  readonly path: string | null;
  readonly load: () => Promise<TensorMap>;
}

export interface CombinedTier {
  /** Sorted by name. */
  readonly parts: readonly TierPart[];
  /** Sorted by edge. */
  readonly leftOut: readonly { readonly edge: string; readonly reason: string }[];
}

/** Combines a tier. `start` is what the edges trained from; its layout is that of the full rank. */
export async function combineTier(
  members: readonly TierMember[],
  rule: TierRule,
  start: TensorMap | null,
): Promise<CombinedTier> {
  const normBound = rule.normBound || adaptiveBound(members.map(({ norm }) => norm));
  const parts: TierPart[] = [];
  const leftOut: { edge: string; reason: string }[] = [];
  const sorted = [...members].sort((a, b) => (a.edge < b.edge ? -1 : 1));
  for (const rank of new Set(sorted.map((member) => member.rank))) {
    const alike = sorted.filter((member) => member.rank === rank);
    const verdict = judgeTier({ ...rule, normBound }, await factsOf(alike, rule, start));
    parts.push(...partsOf(alike, verdict, rank));
    for (const { member, reason } of verdict.leftOut) {
      leftOut.push({ edge: alike[member]!.edge, reason });
    }
  }
  return {
    parts: parts.sort((a, b) => (a.name < b.name ? -1 : 1)),
    leftOut: leftOut.sort((a, b) => (a.edge < b.edge ? -1 : 1)),
  };
}

async function factsOf(alike: readonly TierMember[], rule: TierRule, start: TensorMap | null) {
  if (!needsGeometry(rule)) {
    const geometry = TierGeometry.ofNorms(alike.map(({ norm }) => norm));
    return { geometry, course: null, numbers: 0 };
  }
  const paths = alike.map(({ path }) => path);
  return await measureTier(paths, start && componentsOf(start, alike[0]!.rank));
}

function partsOf(
  alike: readonly TierMember[],
  { taken, blend }: TierVerdict,
  rank: number,
): TierPart[] {
  if (blend === null) {
    return taken.map(({ member, factor }) => {
      const { edge, weight, path } = alike[member]!;
      const load = () => tensorsAt(path);
      return { name: edge, edges: [edge], weight, rank, factor, path, load };
    });
  }
  const chosen = taken.map(({ member }) => alike[member]!);
  const paths = chosen.map(({ path }) => path);
  return [
    {
      // No edge's name: those hold no space.
      name: `${blend.kind} of rank ${rank}`,
      edges: chosen.map(({ edge }) => edge),
      weight: chosen.reduce((sum, { weight }) => sum + weight, 0),
      rank,
      factor: 1,
      path: null,
      load: () => blendTier(paths, blend),
    },
  ];
}

async function tensorsAt(path: string): Promise<TensorMap> {
  return (await readDelta(path)).tensors;
}

/** The start as an edge of a lower rank has it. */
function componentsOf(start: TensorMap, rank: number): TensorMap {
  return rankOfLayout(layoutOf(start)) > rank ? firstComponents(start, rank) : start;
}
