// From the regions' partials to the next global state: start + Σ partials / Σ weights.
import { Fault } from "../../proto/fault.ts";
import { layoutDifference, layoutOf, sortedNames, type TensorMap } from "../delta/tensor-map.ts";
import { sumWeighted } from "./weighted-sum.ts";

/** What one region sums: Σ w·Δ, Σ w, and whose. */
export interface RegionPartial {
  readonly region: string;
  /** Sum of the weights of its contributors. */
  readonly weight: number;
  readonly contributors: readonly string[];
  /** Reads Σ w·Δ when its turn comes. */
  readonly load: () => TensorMap | Promise<TensorMap>;
}

/**
 * Two tiers' partials as one, by region: associative and order-free, since nothing is added up
 * before all are here. Faults: `invalid-argument` for a region that comes twice.
 */
export function joinPartials<P extends Pick<RegionPartial, "region">>(
  some: readonly P[],
  others: readonly P[],
): readonly P[] {
  const joined = [...some, ...others].sort((a, b) => (a.region < b.region ? -1 : 1));
  const twice = joined.find(({ region }, i) => region === joined[i - 1]?.region);
  if (twice) throw new Fault("invalid-argument", `${twice.region} has two partials`);
  return joined;
}

/**
 * The weighted mean of all contributors' deltas on top of the start (nothing in the first round).
 * The same partials give the same bytes in any order. Memory: one model in f64, one partial.
 * Faults: `invalid-argument` for no partials, a region or a contributor that comes twice, weights
 * that aren't positive numbers, or layouts that differ.
 */
export async function mergePartials(
  start: TensorMap | null,
  partials: readonly RegionPartial[],
): Promise<TensorMap> {
  assertDisjoint(partials);
  const sum = await sumWeighted(
    // A partial is weighted inside already.
    partials.map(({ region, load }) => ({ name: region, weight: 1, load })),
  );
  const difference = start && layoutDifference(layoutOf(start), sum.layout);
  if (difference) throw new Fault("invalid-argument", `the partials: ${difference}`);
  const weight = [...partials]
    .sort((a, b) => (a.region < b.region ? -1 : 1))
    .reduce((total, partial) => total + partial.weight, 0);
  return new Map(
    sortedNames(sum.values).map((name) => {
      const from = start?.get(name)?.data;
      const total = sum.values.get(name)!;
      const data = Float32Array.from(total, (value, i) => (from?.[i] ?? 0) + value / weight);
      return [name, { shape: sum.layout.get(name)!, data }];
    }),
  );
}

/** Faults: `invalid-argument` for a region or contributor that comes twice, or a bad weight. */
export function assertDisjoint(partials: readonly RegionPartial[]): void {
  const seen = new Set<string>();
  for (const { region, weight, contributors } of partials) {
    if (!(weight > 0 && Number.isFinite(weight))) {
      throw new Fault("invalid-argument", `the partial of ${region} has the weight ${weight}`);
    }
    for (const contributor of contributors) {
      const key = `${region}/${contributor}`;
      if (seen.has(key)) throw new Fault("invalid-argument", `${key} contributes twice`);
      seen.add(key);
    }
  }
}
