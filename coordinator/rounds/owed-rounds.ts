// Rounds that went on without a region whose edges may have been told that they count: it was away
// when they ended, or its sum could not be fetched. What its edges did then counts in the next
// round that it takes part in. Pure.
import type { CampaignState } from "./campaign-state.ts";

/** Rounds after which a delta is too old to be of use. */
const ROUNDS_MAX = 20;

/**
 * Numbers of the rounds before the present one whose part from the region never came, oldest first.
 * None under masks, which are one round's, and under central noise, which hides one delta of each
 * edge.
 */
export function owedRounds(
  { past, privacy }: Pick<CampaignState, "past" | "privacy">,
  region: string,
): readonly number[] {
  if (privacy.secureAggregation || privacy.noise?.at === "center") return [];
  const owed: number[] = [];
  for (const { number, phase, excluded } of past.slice(-ROUNDS_MAX).reverse()) {
    // An abandoned round counts nobody, whether or not it had the region's part.
    if (phase === "abandoned") continue;
    if (!excluded.some((one) => one.region === region)) break;
    owed.unshift(number);
  }
  return owed;
}
