// What an offer tells regions and edges of the campaign's privacy. Pure.
import type { CampaignState } from "../rounds/campaign-state.ts";
import { clipOf } from "./round-clip.ts";

type Noised = Pick<CampaignState, "privacy"> & Partial<Pick<CampaignState, "round">>;

/** Fields of a RoundOffer. */
export function privacyOffer(campaign: Noised) {
  const { noise, secureAggregation } = campaign.privacy;
  const clip = clipOf(campaign);
  if (noise === null || clip === null) return { secureAggregation };
  const { multiplier, at } = noise;
  return { secureAggregation, noise: { clip, multiplier, atEdge: at === "edge" } };
}

/**
 * The norm that edges clip to and regions screen by. Under central noise it is the noise's clip,
 * since the noise hides no more; a delta that an edge has noised is longer than its clip.
 */
export function normMaxOf(campaign: Noised & Pick<CampaignState, "params">): number {
  const { noise } = campaign.privacy;
  const { normMax } = campaign.params;
  const clip = clipOf(campaign);
  if (noise === null || noise.at === "edge" || clip === null) return normMax;
  return normMax > 0 ? Math.min(normMax, clip) : clip;
}
