// What an offer tells regions of how to combine their deltas. Pure.
import { BOUND_SLACK } from "../../sync/strategy/norm-bound.ts";
import { ruleToWire } from "../../sync/strategy/wire-rule.ts";
import type { CampaignState, RoundState } from "./campaign-state.ts";
import { rulesOf } from "./plan/combination.ts";

type Campaign = Pick<CampaignState, "strategy" | "privacy" | "last">;

/** The rule of the round under way. */
export function ruleOffer(campaign: Campaign) {
  const { combine, lora } = rulesOf(campaign);
  const followsNorms = combine.combine === "robust" || combine.combine === "norm-bound";
  const normBound =
    followsNorms && combine.normBound === 0 ? usualBound(campaign.last) : combine.normBound;
  return ruleToWire({ combine: { ...combine, normBound }, lora });
}

/** Whether edges leave A as the start has it. */
export function freezesA(campaign: Campaign): boolean {
  return rulesOf(campaign).lora === "freeze-a";
}

/**
 * Twice the median norm of all regions' deltas in the round before: a region of one or two edges
 * has no majority of its own to go by. 0, each region's own median, in the first round.
 */
function usualBound(last: RoundState | null): number {
  const norms = (last?.regions ?? [])
    .flatMap(({ edges, partial }) => {
      return edges.filter(({ edge }) => partial?.contributors.includes(edge));
    })
    .map(({ norm }) => norm)
    .sort((a, b) => a - b);
  return BOUND_SLACK * (norms[(norms.length - 1) >> 1] ?? 0);
}
