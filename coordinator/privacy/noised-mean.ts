// The mean of a round's deltas under central noise. Each contributor weighs the same: only then is
// the clip over their number the most that one of them can move the mean.
import { Fault } from "../../proto/fault.ts";
import { mergePartials, type RegionPartial } from "../../sync/aggregate/merge-partials.ts";
import type { TensorMap } from "../../sync/delta/tensor-map.ts";
import type { CampaignState, RoundState } from "../rounds/campaign-state.ts";
import type { RoundPrivacy } from "./round-privacy.ts";

export function isNoisedCentrally({ privacy }: Pick<CampaignState, "privacy">): boolean {
  return privacy.noise?.at === "center";
}

/**
 * The noised mean, the same one whenever it is made again. Requires partials that are sums.
 * Faults: `invalid-argument` for a region that weighed its edges otherwise than alike.
 */
export async function noisedMean(
  campaign: CampaignState,
  { number }: RoundState,
  partials: readonly RegionPartial[],
  privacy: RoundPrivacy,
): Promise<TensorMap> {
  for (const { region, weight, contributors } of partials) {
    if (weight === contributors.length) continue;
    const found = `the weight ${weight} for ${contributors.length} edges`;
    throw new Fault("invalid-argument", `under noise edges weigh the same; ${region} has ${found}`);
  }
  const contributors = partials.reduce((sum, partial) => sum + partial.contributors.length, 0);
  const mean = await mergePartials(null, partials);
  return privacy.noised(campaign, number, mean, contributors);
}
