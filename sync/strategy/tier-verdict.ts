// Which deltas of a tier count, how much, and why the others don't: a pure function of the rule
// and of how the deltas lie to each other.
//
// A rule that needs more deltas than there are falls back to what still holds: Bulyan to
// Multi-Krum, Krum and the median to the norm bound. A bound holds for two deltas, too.
import { type DirectionFacts, findDeviants } from "./direction-test.ts";
import { bulyanHolds, bulyanPicks, krumHolds, multiKrum } from "./krum.ts";
import { adaptiveBound, boundFactor, FAR_BEYOND } from "./norm-bound.ts";

export const combineRules = [
  "mean",
  "robust",
  "norm-bound",
  "median",
  "trimmed-mean",
  "krum",
  "multi-krum",
  "bulyan",
] as const;
export type CombineName = (typeof combineRules)[number];

export interface TierRule {
  readonly combine: CombineName;
  /** Edges that may lie; 0 means as many as the tier's size allows, at most a fifth. */
  readonly byzantine: number;
  /** Share that a trimmed mean drops at each end. */
  readonly trimShare: number;
  /** L2 norm to which longer deltas are scaled down; 0 means adaptive. */
  readonly normBound: number;
}

/** One vector made of many, coordinate by coordinate, instead of their weighted mean. */
export type Blend =
  | { readonly kind: "median" }
  | { readonly kind: "trimmed-mean"; readonly share: number }
  | { readonly kind: "around-median"; readonly keep: number };

export interface TierVerdict {
  /** Members that count, each scaled by its factor; in the members' order. */
  readonly taken: readonly { readonly member: number; readonly factor: number }[];
  readonly leftOut: readonly { readonly member: number; readonly reason: string }[];
  readonly blend: Blend | null;
  /** What was done, e.g. "norm bound 20.3". */
  readonly rule: string;
}

/** Fewest deltas for which a coordinate's middle means anything. */
const MEDIAN_MIN = 3;
const BYZANTINE_SHARE = 0.2;

/** Whether a rule looks at what lies between the deltas, not just at how long each is. */
export function needsGeometry({ combine }: TierRule): boolean {
  return ["robust", "krum", "multi-krum", "bulyan"].includes(combine);
}

/** Judges a tier. Requires finite deltas of one layout. */
export function judgeTier(rule: TierRule, facts: DirectionFacts): TierVerdict {
  const { geometry } = facts;
  const { count } = geometry;
  const liars = rule.byzantine || Math.max(1, Math.floor(BYZANTINE_SHARE * count));
  switch (rule.combine) {
    case "mean":
      return takeAll(count, "mean");
    case "median":
      if (count >= MEDIAN_MIN) return { ...takeAll(count, "median"), blend: { kind: "median" } };
      return boundNorms(rule, facts);
    case "trimmed-mean": {
      const share = rule.trimShare;
      if (Math.floor(share * count) < 1) return boundNorms(rule, facts);
      const blend = { kind: "trimmed-mean", share } as const;
      return { ...takeAll(count, `trimmed mean of ${share}`), blend };
    }
    case "krum":
      if (!krumHolds(count, liars)) return boundNorms(rule, facts);
      return select(count, multiKrum(geometry, liars, 1), `Krum with ${liars} liars`);
    case "bulyan":
      if (bulyanHolds(count, liars)) {
        const picks = bulyanPicks(geometry, liars);
        const blend = { kind: "around-median", keep: picks.length - 2 * liars } as const;
        return { ...select(count, picks, `Bulyan with ${liars} liars`), blend };
      }
      return chooseMany(rule, facts, liars);
    case "multi-krum":
      return chooseMany(rule, facts, liars);
    case "norm-bound":
      return boundNorms(rule, facts);
    case "robust":
      return robust(rule, facts);
  }
}

/** A bound on the norms, then nobody who pulls against the others or the model's course. */
function robust(rule: TierRule, facts: DirectionFacts): TierVerdict {
  const bounded = boundNorms(rule, facts);
  const deviants = findDeviants(
    facts,
    bounded.taken.map(({ member }) => member),
  );
  const isDeviant = (member: number) => deviants.some((deviant) => deviant.member === member);
  return {
    ...bounded,
    taken: bounded.taken.filter(({ member }) => !isDeviant(member)),
    leftOut: [...bounded.leftOut, ...deviants].sort((a, b) => a.member - b.member),
    rule: `robust, ${bounded.rule}`,
  };
}

function boundNorms(rule: TierRule, { geometry }: DirectionFacts): TierVerdict {
  const norms = Array.from({ length: geometry.count }, (_, i) => geometry.norm(i));
  const bound = rule.normBound > 0 ? rule.normBound : adaptiveBound(norms);
  const isFar = (norm: number) => bound > 0 && norm > FAR_BEYOND * bound;
  return {
    taken: norms.flatMap((norm, member) =>
      isFar(norm) ? [] : [{ member, factor: boundFactor(norm, bound) }],
    ),
    leftOut: norms.flatMap((norm, member) =>
      isFar(norm)
        ? [{ member, reason: `its norm ${short(norm)} is far beyond the bound ${short(bound)}` }]
        : [],
    ),
    blend: null,
    rule: `norm bound ${short(bound)}`,
  };
}

function chooseMany(rule: TierRule, facts: DirectionFacts, liars: number): TierVerdict {
  const { geometry } = facts;
  if (!krumHolds(geometry.count, liars)) return boundNorms(rule, facts);
  const picks = multiKrum(geometry, liars, geometry.count - liars);
  return select(geometry.count, picks, `Multi-Krum with ${liars} liars`);
}

function select(count: number, picks: readonly number[], rule: string): TierVerdict {
  const all = Array.from({ length: count }, (_, member) => member);
  return {
    taken: all.filter((member) => picks.includes(member)).map((member) => ({ member, factor: 1 })),
    leftOut: all
      .filter((member) => !picks.includes(member))
      .map((member) => ({ member, reason: `not chosen by ${rule}` })),
    blend: null,
    rule,
  };
}

function takeAll(count: number, rule: string): TierVerdict {
  const taken = Array.from({ length: count }, (_, member) => ({ member, factor: 1 }));
  return { taken, leftOut: [], blend: null, rule };
}

function short(value: number): string {
  return value.toPrecision(3);
}
