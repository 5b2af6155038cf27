// The sections of a campaign's plan: the same in what an operator asks for and in what is
// remembered. Each has a default, so that requests may leave it out and older records still parse.
import { pacePlanSchema } from "./pace-plan.ts";

export const planSections = {
  pace: pacePlanSchema.prefault({}),
};
