// Gaussian noise on a model's numbers: what makes a clipped delta, or a mean of them, private.
//
// Central: each of n deltas has a norm of at most C, so one of them moves their plain mean by at
// most C/n, and noise of the deviation z·C/n hides it. At the edge: one delta stands alone, n = 1.
// The mean has to be plain: weights by examples would let one edge move it further.
import { Fault } from "../../proto/fault.ts";
import { sortedNames, type TensorMap } from "../delta/tensor-map.ts";
import type { Gaussian } from "./gaussian.ts";

export interface NoiseStrength {
  /** L2 norm that no single delta exceeds. */
  readonly clip: number;
  /** The deviation, as a multiple of what one delta can move. */
  readonly multiplier: number;
  /** Deltas in the mean; 1 for a delta by itself. */
  readonly contributors: number;
}

/**
 * Bits that a deviation has above the grid that noised numbers are rounded to. The low bits of a
 * float that was added to would tell of what it was added to.
 * Source: Mironov, "On significance of the least significant bits for differential privacy", 2012.
 */
const GRID_BITS = 20;

/** Standard deviation of the noise: z·C/n. Faults: `invalid-argument`. */
export function noiseDeviation({ clip, multiplier, contributors }: NoiseStrength): number {
  const isSound = clip > 0 && multiplier > 0 && contributors >= 1;
  const deviation = (multiplier * clip) / contributors;
  if (isSound && Number.isFinite(deviation)) return deviation;
  const found = `clip ${clip}, multiplier ${multiplier}, ${contributors} contributors`;
  throw new Fault("invalid-argument", `no noise can be made of ${found}`);
}

/** Adds noise to every number, tensors in sorted order: the same source gives the same result. */
export function addNoise(
  tensors: TensorMap,
  strength: NoiseStrength,
  gaussian: Gaussian,
): TensorMap {
  const deviation = noiseDeviation(strength);
  const grid = 2 ** (Math.floor(Math.log2(deviation)) - GRID_BITS);
  return new Map(
    sortedNames(tensors).map((name) => {
      const { shape, data } = tensors.get(name)!;
      const noised = data.map(
        (value) => Math.round((value + deviation * gaussian()) / grid) * grid,
      );
      return [name, { shape, data: noised }];
    }),
  );
}
