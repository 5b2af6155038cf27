// What an edge does to its own delta when the round's noise is the edges' business: it clips, and
// adds noise that hides the delta by itself, whoever sees it afterwards.
import type { RoundOffer } from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import { type RandomBytes, secureBytes } from "../../runtime/random.ts";
import { clipNorm, type TensorMap } from "../delta/tensor-map.ts";
import { type Gaussian, gaussian } from "./gaussian.ts";
import { addNoise } from "./noise.ts";

/** Null when the offer asks for none. Faults: `invalid-argument` for bad numbers. */
export function edgeNoised(
  { noise }: Pick<RoundOffer, "noise">,
  delta: TensorMap,
  random: RandomBytes = secureBytes,
): TensorMap | null {
  if (noise === undefined || !noise.atEdge || noise.clip === 0) return null;
  const { clip, multiplier } = noise;
  const source: Gaussian = gaussian(random);
  return addNoise(clipNorm(delta, clip), { clip, multiplier, contributors: 1 }, source);
}
