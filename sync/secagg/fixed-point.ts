// Numbers in a ring: f32 values as whole multiples of a step, modulo 2³². There sums have no
// rounding and no order, and a mask that is uniform hides whatever it is added to.
//
// The ring is shared out among the members: each may use 1/n of its signed half, so that the sum of
// n can't go round. With 8 members and values within ±8 a step is 3·10⁻⁸.
import { Fault } from "../../proto/fault.ts";
import { sortedNames, type TensorLayout, type TensorMap } from "../delta/tensor-map.ts";

export interface FixedPoint {
  /** No value lies beyond ± this. */
  readonly range: number;
  /** Most values that are ever summed. */
  readonly members: number;
}

const HALF_RING = 2 ** 31 - 1;

/** The largest whole number that one member's value becomes. */
function unitsMax({ members }: FixedPoint): number {
  return Math.floor(HALF_RING / members);
}

/**
 * All numbers, tensors in sorted order, each rounded to a multiple of the step.
 * Faults: `failed-precondition` for a number that isn't finite or lies beyond the range.
 */
export function encodeFixedPoint(tensors: TensorMap, format: FixedPoint): Uint32Array {
  const names = sortedNames(tensors);
  const count = names.reduce((sum, name) => sum + tensors.get(name)!.data.length, 0);
  const words = new Uint32Array(count);
  const scale = unitsMax(format) / format.range;
  let at = 0;
  for (const name of names) {
    for (const value of tensors.get(name)!.data) {
      if (!(Math.abs(value) <= format.range)) {
        const message = `${name} holds ${value}; secure aggregation takes ±${format.range}`;
        throw new Fault("failed-precondition", message);
      }
      // Assignment to a Uint32Array is modulo 2³².
      words[at++] = Math.round(value * scale);
    }
  }
  return words;
}

/** The sum of at most `members` encoded maps, as f32. Faults: `invalid-argument` for its length. */
export function decodeFixedPoint(
  words: Uint32Array,
  layout: TensorLayout,
  format: FixedPoint,
): TensorMap {
  const step = format.range / unitsMax(format);
  const tensors = new Map<string, { shape: readonly number[]; data: Float32Array }>();
  let at = 0;
  for (const name of sortedNames(layout)) {
    const shape = layout.get(name)!;
    const data = new Float32Array(shape.reduce((product, n) => product * n, 1));
    for (let i = 0; i < data.length; i++) data[i] = ((words[at++] ?? 0) | 0) * step;
    tensors.set(name, { shape, data });
  }
  if (at === words.length) return tensors;
  throw new Fault("invalid-argument", `${words.length} numbers for a layout of ${at}`);
}

/** sum += words, in the ring. Requires equal lengths. */
export function addWords(sum: Uint32Array, words: Uint32Array): void {
  if (sum.length !== words.length) {
    throw new Fault("invalid-argument", `${words.length} numbers onto ${sum.length}`);
  }
  for (let i = 0; i < sum.length; i++) sum[i]! += words[i]!;
}

/** How many numbers a layout has. */
export function wordsOfLayout(layout: TensorLayout): number {
  return [...layout.values()].reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0);
}
