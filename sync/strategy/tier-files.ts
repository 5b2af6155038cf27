// Reads the delta files of one tier side by side, a piece of each at a time: robust rules look at
// every delta, but memory holds one piece of each.
import { Fault } from "../../proto/fault.ts";
import { type DeltaFile, openDelta } from "../delta/codec/delta-file.ts";
import { numbersOf } from "../delta/codec/delta-numbers.ts";
import type { TensorMap } from "../delta/tensor-map.ts";
import type { SafeTensor } from "../formats/safetensors.ts";
import { coordinateMedian, meanAroundMedian, trimmedMean } from "./coordinate-rules.ts";
import type { DirectionFacts } from "./direction-test.ts";
import { TierGeometry } from "./tier-geometry.ts";
import type { Blend } from "./tier-verdict.ts";

/**
 * How the deltas lie to each other and to the start. Requires files of one layout, which is that
 * of the start if there is one.
 */
export async function measureTier(
  paths: readonly string[],
  start: TensorMap | null,
): Promise<DirectionFacts> {
  const geometry = new TierGeometry(paths.length);
  const along = paths.map(() => 0);
  let length = 0;
  let numbers = 0;
  for await (const { name, at, values } of sideBySide(paths)) {
    geometry.add(values);
    numbers += values[0]!.length;
    const from = start?.get(name)?.data.subarray(at, at + values[0]!.length);
    if (!from) continue;
    length += product(from, from);
    for (const [i, piece] of values.entries()) along[i]! += product(from, piece);
  }
  const course = along.map((value, i) => {
    const lengths = Math.sqrt(length) * geometry.norm(i);
    return lengths > 0 ? value / lengths : 0;
  });
  return { geometry, course: length > 0 ? course : null, numbers };
}

/** One delta made of many, coordinate by coordinate, rounded to f32. */
export async function blendTier(paths: readonly string[], blend: Blend): Promise<TensorMap> {
  const result = new Map<string, SafeTensor>();
  for await (const { name, shape, count, at, values } of sideBySide(paths)) {
    if (!result.has(name)) result.set(name, { shape, data: new Float32Array(count) });
    result.get(name)!.data.set(blended(values, blend), at);
  }
  return result;
}

function blended(values: readonly Float32Array[], blend: Blend): Float64Array {
  switch (blend.kind) {
    case "median":
      return coordinateMedian(values);
    case "trimmed-mean":
      return trimmedMean(values, blend.share);
    case "around-median":
      return meanAroundMedian(values, blend.keep);
  }
}

interface TierPiece {
  readonly name: string;
  readonly shape: readonly number[];
  /** Numbers of the whole tensor. */
  readonly count: number;
  /** Which of them is the first here. */
  readonly at: number;
  /** One piece of each file. */
  readonly values: readonly Float32Array[];
}

async function* sideBySide(paths: readonly string[]): AsyncGenerator<TierPiece, void, undefined> {
  const files: DeltaFile[] = [];
  for (const path of paths) files.push(await openDelta(path));
  const readers = files.map(numbersOf);
  try {
    for (;;) {
      const steps = await Promise.all(readers.map((reader) => reader.next()));
      const pieces = steps.flatMap(({ value }) => (value ? [value] : []));
      if (pieces.length === 0) return;
      const [{ tensor, at, values }] = pieces as [(typeof pieces)[number]];
      const isAlike = pieces.every((piece) => {
        return piece.tensor.name === tensor.name && piece.values.length === values.length;
      });
      if (!isAlike || pieces.length < paths.length) {
        throw new Fault("invalid-argument", `the deltas of one tier differ at ${tensor.name}`);
      }
      const { name, shape, count } = tensor;
      yield { name, shape, count, at, values: pieces.map((piece) => piece.values) };
    }
  } finally {
    await Promise.all(readers.map((reader) => reader.return()));
  }
}

function product(x: Float32Array, y: Float32Array): number {
  let total = 0;
  for (let i = 0; i < x.length; i++) total += x[i]! * y[i]!;
  return total;
}
