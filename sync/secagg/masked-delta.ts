// A delta as it travels under masks: fixed-point numbers of the whole layout, each a little-endian
// u32. Each edge weighs the same: what nobody can see, nobody could weigh by a claim.
import type { RoundOffer } from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import type { MaskSecrets } from "../../proto/gen/isthmus/v1/secagg_pb.ts";
import type { TensorMap } from "../delta/tensor-map.ts";
import { encodeFixedPoint, type FixedPoint } from "./fixed-point.ts";
import { bytesOfWords } from "./mask-stream.ts";
import { maskWords } from "./masking-party.ts";

export const WORD_BYTES = 4;
/** Far beyond what a number of a LoRA delta grows to in one round. */
const RANGE_DEFAULT = 8;
/** Deviations of an edge's noise that have to fit; beyond them lies one number in 10³². */
const NOISE_DEVIATIONS = 12;

/** How a round's numbers become those of the ring; edges and region derive the same. */
export function maskedFormat(
  { noise, params }: Pick<RoundOffer, "noise" | "params">,
  members: number,
): FixedPoint {
  if (noise?.atEdge && noise.clip > 0) {
    return { range: noise.clip * (1 + NOISE_DEVIATIONS * noise.multiplier), members };
  }
  const normMax = params?.normMax ?? 0;
  return { range: normMax > 0 ? normMax : RANGE_DEFAULT, members };
}

/** Faults: `failed-precondition` for a number beyond the range, or before masks are agreed. */
export function maskedBytes(
  offer: Pick<RoundOffer, "noise" | "params">,
  delta: TensorMap,
  secrets: MaskSecrets,
): Uint8Array {
  const members = secrets.roster?.members.length ?? 0;
  const words = encodeFixedPoint(delta, maskedFormat(offer, members));
  maskWords(secrets, words);
  return bytesOfWords(words);
}
