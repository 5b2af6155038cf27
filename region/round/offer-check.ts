// Whether an offer says all that a round needs, in bounds that a region accepts.
import { Fault } from "../../proto/fault.ts";
import type { RoundOffer } from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import { modelPattern, namePattern, sha256Pattern } from "../../proto/ids.ts";
import { formatFromWire } from "../../sync/delta/codec/delta-format.ts";
import { type RoundRule, ruleOfWire } from "../../sync/strategy/wire-rule.ts";
import { STALENESS_MAX } from "./carried-deltas.ts";

const RANK_MAX = 1024;
const ROUND_MAX = 1_000_000;

/** What is wrong with an offer; null when nothing is. */
export function faultOfOffer(offer: RoundOffer): string | null {
  const { params, version, adapterState } = offer;
  if (!namePattern.test(offer.campaign)) return "the campaign's name is invalid";
  if (offer.round > ROUND_MAX) return `round ${offer.round} is beyond ${ROUND_MAX}`;
  if (!modelPattern.test(offer.model)) return "the model's name is invalid";
  if (!sha256Pattern.test(version?.base?.sha256 ?? "")) return "no base that edges could train on";
  if (adapterState && !sha256Pattern.test(adapterState.sha256)) return "no hash of the start";
  if (!params) return "no training parameters";
  if (params.rank < 1 || params.rank > RANK_MAX) return `rank ${params.rank} of 1 to ${RANK_MAX}`;
  if (!(params.alpha > 0)) return `alpha ${params.alpha}`;
  if (offer.carriedRounds.length > STALENESS_MAX)
    return "too many rounds to carry deltas over from";
  return faultOfWire(offer);
}

function faultOfWire(offer: RoundOffer): string | null {
  try {
    const { codec } = formatFromWire(offer.format);
    return faultOfPrivacy(offer, codec, ruleOfWire(offer.rule));
  } catch (thrown) {
    if (thrown instanceof Fault) return thrown.message;
    throw thrown;
  }
}

/** A region that can't keep what an offer promises says so, whoever let the offer pass. */
function faultOfPrivacy(
  { secureAggregation, noise, carriedRounds }: RoundOffer,
  codec: string,
  { combine: { combine }, lora }: RoundRule,
): string | null {
  const { clip = 0, multiplier = 0 } = noise ?? {};
  if (noise && !(clip >= 0 && multiplier >= 0 && Number.isFinite(clip * multiplier))) {
    return `noise of clip ${clip} and multiplier ${multiplier}`;
  }
  const isNoised = clip > 0;
  if (!secureAggregation && !isNoised) return null;
  if (carriedRounds.length > 0 && (secureAggregation || !noise?.atEdge)) {
    return "masks and central noise take one delta of each edge: none of earlier rounds can count";
  }
  const what = secureAggregation ? "secure aggregation" : "noise";
  if (combine !== "mean") return `${what} excludes ${combine}: combine by mean`;
  if (lora === "stack") return `${what} excludes stacks: average the factors, or freeze A`;
  return secureAggregation && codec !== "f32" ? `${what} excludes the codec ${codec}` : null;
}
