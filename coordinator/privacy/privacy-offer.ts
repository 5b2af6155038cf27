// What an offer tells regions and edges of the campaign's privacy. Pure.
import type { CampaignState } from "../rounds/campaign-state.ts";

/** Fields of a RoundOffer. */
export function privacyOffer({ privacy }: Pick<CampaignState, "privacy">) {
  const { noise, secureAggregation } = privacy;
  if (noise === null) return { secureAggregation };
  const { clip, multiplier, at } = noise;
  return { secureAggregation, noise: { clip, multiplier, atEdge: at === "edge" } };
}

/**
 * The norm that edges clip to and regions screen by. Under central noise it is the noise's clip,
 * since the noise hides no more; a delta that an edge has noised is longer than its clip.
 */
export function normMaxOf({ privacy, params }: Pick<CampaignState, "privacy" | "params">): number {
  const { noise } = privacy;
  if (noise === null || noise.at === "edge") return params.normMax;
  return params.normMax > 0 ? Math.min(params.normMax, noise.clip) : noise.clip;
}
