// The sections of a campaign's plan: the same in what an operator asks for and in what is
// remembered. Each has a default, so that requests may leave it out and older records still parse.
import { formatPlanSchema } from "./format-plan.ts";
import { gateOutOfRules, gatePlanSchema } from "./gate-plan.ts";
import { paceOutOfRules, pacePlanSchema } from "./pace-plan.ts";
import { privacyPlanSchema } from "./privacy-plan.ts";
import { strategyPlanSchema } from "./strategy-plan.ts";

/** Moves what older requests and records say in `rules` to its section. */
export function outOfRules(plan: unknown): unknown {
  return gateOutOfRules(paceOutOfRules(plan));
}

export const planSections = {
  format: formatPlanSchema.prefault({}),
  gate: gatePlanSchema.prefault({}),
  pace: pacePlanSchema.prefault({}),
  privacy: privacyPlanSchema.prefault({}),
  strategy: strategyPlanSchema.prefault({}),
};
