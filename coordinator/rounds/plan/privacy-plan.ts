// What a campaign promises about the edges' data: noise, a budget of ε that all rounds of the model
// share, and whether a region may see a single delta at all.
import { z } from "zod";

export const noisePlanSchema = z.strictObject({
  /** L2 norm to which deltas are clipped before noise hides them; the first one, if it moves. */
  clip: z.number().positive().max(1e6),
  /** Deviation of the noise as a multiple of the clip. */
  multiplier: z.number().min(0.01).max(1e4),
  /**
   * The quantile of the deltas' norms that the clip moves to, round by round, e.g. 0.5; null: the
   * clip stays.
   */
  clipQuantile: z.number().gt(0).lt(1).nullable().default(null),
  /** Once, on the mean at the coordinator; or by each edge on its own delta. */
  at: z.enum(["center", "edge"]).default("center"),
});
export type NoisePlan = z.infer<typeof noisePlanSchema>;

export const DELTA_DEFAULT = 1e-5;

export const privacyPlanSchema = z.strictObject({
  noise: noisePlanSchema.nullable().default(null),
  /** Probability with which the promise of ε may fail; the model's first campaign sets it. */
  delta: z.number().gt(0).max(0.1).nullable().default(null),
  /** ε that all rounds of the model together may cost; the tightest that was ever set counts. */
  epsilonBudget: z.number().positive().max(1e6).nullable().default(null),
  /** Deltas are masked pairwise, so that a region learns nothing but their sum. */
  secureAggregation: z.boolean().default(false),
});
export type PrivacyPlan = z.infer<typeof privacyPlanSchema>;
