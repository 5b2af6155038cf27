// The sum Σ w·Δ over many contributors, in memory of one model (f64) and one delta.
//
// Floating-point addition isn't associative, so "in any order" is made true by summing in one
// order: contributors are sorted by name, whatever the order in which they came. Deltas that are
// files are summed by delta-sum.ts, to the same bytes, in threads.
import { setImmediate as nextTurn } from "node:timers/promises";
import { Fault } from "../../proto/fault.ts";
import {
  layoutDifference,
  layoutOf,
  sortedNames,
  type TensorLayout,
  type TensorMap,
} from "../delta/tensor-map.ts";

/** Numbers added in one go, which takes a few milliseconds. */
const BREATH_NUMBERS = 1 << 21;

export interface Contribution {
  /** Sorts the sum, and names the contributor in faults. */
  readonly name: string;
  readonly weight: number;
  /** Reads the numbers when their turn comes, so that only one contributor's are in memory. */
  readonly load: () => TensorMap | Promise<TensorMap>;
}

export interface WeightedSum {
  readonly layout: TensorLayout;
  /** Row-major f64 numbers by tensor name. */
  readonly values: ReadonlyMap<string, Float64Array>;
  readonly weight: number;
  /** Sorted. */
  readonly contributors: readonly string[];
}

/**
 * Sums weight · delta over all contributions.
 * Faults: `invalid-argument` when there is none, one comes twice, a weight isn't a positive number,
 * or the layouts differ.
 */
export async function sumWeighted(contributions: readonly Contribution[]): Promise<WeightedSum> {
  const sorted = sortContributions(contributions);
  let weight = 0;
  let layout: TensorLayout | null = null;
  const values = new Map<string, Float64Array>();
  for (const contribution of sorted) {
    const tensors = await contribution.load();
    layout ??= startSum(tensors, values);
    const difference = layoutDifference(layout, layoutOf(tensors));
    if (difference) throw new Fault("invalid-argument", `${contribution.name}: ${difference}`);
    for (const [name, sum] of values) {
      await addScaled(sum, tensors.get(name)!.data, contribution.weight);
    }
    weight += contribution.weight;
  }
  return { layout: layout!, values, weight, contributors: sorted.map(({ name }) => name) };
}

/** Rounds a sum to the f32 tensors of a partial, names sorted. */
export function roundSum({ layout, values }: WeightedSum): TensorMap {
  return new Map(
    sortedNames(values).map((name) => [
      name,
      { shape: layout.get(name)!, data: Float32Array.from(values.get(name)!) },
    ]),
  );
}

/** sum += weight · x, in f64. Lets others have the event loop in between. */
async function addScaled(sum: Float64Array, x: Float32Array, weight: number): Promise<void> {
  for (let at = 0; at < sum.length; at += BREATH_NUMBERS) {
    if (at > 0) await nextTurn();
    const end = Math.min(sum.length, at + BREATH_NUMBERS);
    for (let i = at; i < end; i++) sum[i]! += weight * x[i]!;
  }
}

function startSum(tensors: TensorMap, values: Map<string, Float64Array>): TensorLayout {
  for (const name of sortedNames(tensors)) {
    values.set(name, new Float64Array(tensors.get(name)!.data.length));
  }
  return layoutOf(tensors);
}

/** Faults: `invalid-argument` for none, a name that comes twice, a weight that isn't positive. */
export function sortContributions<C extends Pick<Contribution, "name" | "weight">>(
  contributions: readonly C[],
): C[] {
  const sorted = [...contributions].sort((a, b) => (a.name < b.name ? -1 : 1));
  if (sorted.length === 0) throw new Fault("invalid-argument", "nothing to sum");
  for (const [i, { name, weight }] of sorted.entries()) {
    if (name === sorted[i - 1]?.name) {
      throw new Fault("invalid-argument", `${name} contributes twice`);
    }
    if (!(weight > 0 && Number.isFinite(weight))) {
      throw new Fault("invalid-argument", `${name} has the weight ${weight}`);
    }
  }
  return sorted;
}
