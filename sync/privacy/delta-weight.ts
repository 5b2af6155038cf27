// What one edge's delta weighs in a sum.
import type { DeltaManifest, RoundOffer } from "../../proto/gen/isthmus/v1/rounds_pb.ts";

/**
 * Its examples; but 1 under central noise, which hides an edge only if none moves the mean further
 * than another.
 */
export function deltaWeight(
  { noise }: Pick<RoundOffer, "noise">,
  { examples }: Pick<DeltaManifest, "examples">,
): number {
  const isNoisedCentrally = noise !== undefined && noise.clip > 0 && !noise.atEdge;
  return isNoisedCentrally ? 1 : examples;
}
