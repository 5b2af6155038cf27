// The clip of a campaign's rounds under central noise: the plan's, or one that follows a quantile
// of the deltas' norms from round to round. Pure but for the noise on the count.
import { deltaMultiplier, nextClip, noisedShare } from "../../sync/privacy/adaptive-clip.ts";
import type { Gaussian } from "../../sync/privacy/gaussian.ts";
import type { CampaignState, RoundState } from "../rounds/campaign-state.ts";
import type { NoisePlan } from "../rounds/plan/privacy-plan.ts";

/** Bounds of a clip that moves. */
const CLIP_MIN = 1e-6;
const CLIP_MAX = 1e6;
/** A delta this near to the clip was scaled down to it: as far as rounding moves a norm. */
const TOUCHES = 1e-4;
/** The count's noise is a twentieth of the contributors; below so many times z it is too little. */
const CONTRIBUTORS_A_MULTIPLIER = 10;

type Clipped = Pick<CampaignState, "privacy"> & Partial<Pick<CampaignState, "round">>;

/** What edges of the round under way clip to; null without noise. */
export function clipOf({ privacy, round }: Clipped): number | null {
  return privacy.noise === null ? null : (round?.clip ?? privacy.noise.clip);
}

/**
 * Whether the clip can follow: with few contributors, the noise that would hide who was clipped is
 * so small that none would be left for the deltas.
 */
export function isFollowing(
  { clipQuantile, multiplier }: NoisePlan,
  contributors: number,
): boolean {
  return clipQuantile !== null && contributors > CONTRIBUTORS_A_MULTIPLIER * multiplier;
}

/** Noise on the deltas: more than planned where a part of the plan's hides the count. */
export function multiplierOf(noise: NoisePlan, contributors: number): number {
  return isFollowing(noise, contributors)
    ? deltaMultiplier(noise.multiplier, contributors)
    : noise.multiplier;
}

/** The next round's clip; undefined where it stays. */
export function followingClip(
  campaign: Clipped,
  round: Pick<RoundState, "regions">,
  gaussian: Gaussian,
): number | undefined {
  const { noise } = campaign.privacy;
  const clip = clipOf(campaign);
  if (noise === null || clip === null || noise.clipQuantile === null) return undefined;
  const norms = contributedNorms(round);
  if (!isFollowing(noise, norms.length)) return undefined;
  const within = norms.filter((norm) => norm < clip * (1 - TOUCHES)).length;
  const share = noisedShare(within, norms.length, gaussian);
  const next = nextClip(clip, share, { quantile: noise.clipQuantile });
  return Math.min(CLIP_MAX, Math.max(CLIP_MIN, next));
}

/** Norms of the deltas in the round's sums, after clipping, as the regions have found them. */
function contributedNorms({ regions }: Pick<RoundState, "regions">): number[] {
  return regions.flatMap(({ phase, edges, partial }) => {
    if (phase !== "pulled" || partial === null) return [];
    const counted = edges.filter(({ edge }) => partial.contributors.includes(edge));
    return counted.map(({ norm }) => norm);
  });
}
