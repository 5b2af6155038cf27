// A model's or adapter's numbers by tensor name, and the arithmetic that deltas need.
import { Fault } from "../../proto/fault.ts";
import type { SafeTensor } from "../formats/safetensors.ts";

export type TensorMap = ReadonlyMap<string, SafeTensor>;
/** Shapes by tensor name: what two maps must share to be added. */
export type TensorLayout = ReadonlyMap<string, readonly number[]>;

/** Far above what rounding to f32 changes in a norm, far below what anybody would notice. */
const CLIP_MARGIN = 1e-6;

export function layoutOf(tensors: TensorMap): TensorLayout {
  return new Map([...tensors].map(([name, { shape }]) => [name, shape]));
}

/** Names in the one order that every sum and file of ours uses. */
export function sortedNames(tensors: ReadonlyMap<string, unknown>): string[] {
  return [...tensors.keys()].sort();
}

/** Says in which way a layout isn't the one expected; null when it is. */
export function layoutDifference(expected: TensorLayout, found: TensorLayout): string | null {
  for (const [name, shape] of expected) {
    const other = found.get(name);
    if (!other) return `tensor ${name} is missing`;
    if (shape.length !== other.length || shape.some((n, i) => n !== other[i])) {
      return `tensor ${name} is ${other.join("×")} instead of ${shape.join("×")}`;
    }
  }
  for (const name of found.keys()) {
    if (!expected.has(name)) return `tensor ${name.slice(0, 120)} is unknown`;
  }
  return null;
}

/** L2 norm over all tensors, in f64, summed in sorted order: always the same for the same map. */
export function normOf(tensors: TensorMap): number {
  let sum = 0;
  for (const name of sortedNames(tensors)) {
    for (const value of tensors.get(name)!.data) sum += value * value;
  }
  return Math.sqrt(sum);
}

/**
 * Scales the tensors down to a norm of at most `normMax` (0 means no bound). Just below it, so that
 * rounding to f32 can't lift the result over it.
 */
export function clipNorm(tensors: TensorMap, normMax: number): TensorMap {
  const norm = normOf(tensors);
  if (normMax <= 0 || norm <= normMax) return tensors;
  return scaleTensors(tensors, (normMax / norm) * (1 - CLIP_MARGIN));
}

export function scaleTensors(tensors: TensorMap, factor: number): TensorMap {
  return new Map(
    [...tensors].map(([name, { shape, data }]) => [
      name,
      { shape, data: data.map((value) => value * factor) },
    ]),
  );
}

/** The first tensor that holds a NaN or an infinity; null when every number is finite. */
export function firstNotFinite(tensors: TensorMap): string | null {
  for (const [name, { data }] of tensors) {
    for (const value of data) if (!Number.isFinite(value)) return name;
  }
  return null;
}

/**
 * What training changed: result - start, tensor by tensor. Without a start (the first round, where
 * all edges begin from the seed alone) the delta is the result itself.
 * Faults: `failed-precondition` when the two don't have the same layout.
 */
export function deltaBetween(start: TensorMap | null, result: TensorMap): TensorMap {
  if (start) {
    const difference = layoutDifference(layoutOf(start), layoutOf(result));
    if (difference) throw new Fault("failed-precondition", `the training result: ${difference}`);
  }
  const delta = new Map<string, SafeTensor>();
  for (const name of sortedNames(result)) {
    const { shape, data } = result.get(name)!;
    const from = start?.get(name)?.data;
    delta.set(name, { shape, data: from ? data.map((value, i) => value - from[i]!) : data });
  }
  return delta;
}

/** a + b, tensor by tensor; without an a it is b. Faults: `invalid-argument` for other layouts. */
export function tensorSum(a: TensorMap | null, b: TensorMap): TensorMap {
  if (a === null) return b;
  const difference = layoutDifference(layoutOf(a), layoutOf(b));
  if (difference) throw new Fault("invalid-argument", difference);
  return new Map(
    sortedNames(b).map((name) => {
      const { shape, data } = b.get(name)!;
      const from = a.get(name)!.data;
      return [name, { shape, data: data.map((value, i) => value + from[i]!) }];
    }),
  );
}
