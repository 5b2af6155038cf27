// How a campaign makes one model of many deltas: which of a region's deltas count, how LoRA factors
// become one adapter, and what the server does with the mean.
import { z } from "zod";
import {
  type ServerPlan,
  serverDefaults,
  serverOptimizers,
} from "../../../sync/strategy/server-optimizer.ts";
import { BUFFER_DEFAULT } from "../../../sync/strategy/staleness-weight.ts";
import { combineRules } from "../../../sync/strategy/tier-verdict.ts";
import { loraModes, type RoundRule } from "../../../sync/strategy/wire-rule.ts";
import { ROUNDS_MAX } from "../params.ts";

const rateSchema = z.number().positive().max(100);
const shareSchema = z.number().min(0).lt(1);

/**
 * Why `robust` is the default, not Krum or a median: regions are small and their edges differ.
 * Deltas of different dialects of the demo model are all but orthogonal (cosines −0.08 to 0.19), so
 * Krum would keep one dialect and a median shrink them all. A norm bound and a test of direction
 * keep every honest edge, and hold from two deltas on.
 */
export const strategyPlanSchema = z.strictObject({
  server: z.enum(serverOptimizers).default("fedavg"),
  /**
   * One for all rounds, or one for each, the last for all that follow. null: the optimizer's own
   * default, e.g. 1 for FedAvg and 0.1 for FedAdam.
   */
  lr: z
    .union([rateSchema, z.array(rateSchema).min(1).max(ROUNDS_MAX)])
    .nullable()
    .default(null),
  momentum: shareSchema.nullable().default(null),
  beta1: shareSchema.nullable().default(null),
  beta2: shareSchema.nullable().default(null),
  tau: z.number().positive().max(10).nullable().default(null),
  biasCorrection: z.boolean().default(false),
  /** null: robust, or mean where regions see no single delta. */
  combine: z.enum(combineRules).nullable().default(null),
  /** Edges of a region that may lie; 0: as many as its size allows, at most a fifth. */
  byzantine: z.int().min(0).max(1000).default(0),
  /** Share that a trimmed mean drops at each end. */
  trimShare: z.number().min(0).max(0.49).default(0.2),
  /** L2 norm to which longer deltas are scaled down; 0: twice the median of the region's. */
  normBound: z.number().min(0).max(1e9).default(0),
  /** null: stack, or average where only sums can be had. */
  lora: z.enum(loraModes).nullable().default(null),
  /**
   * FedBuff: a round ends once `buffer` deltas are in; those that come later count in the next
   * round, less the older they are.
   */
  asynchronous: z
    .strictObject({ buffer: z.int().min(1).max(100_000).default(BUFFER_DEFAULT) })
    .nullable()
    .default(null),
});
export type StrategyPlan = z.infer<typeof strategyPlanSchema>;

/** What the choice of a rule depends on elsewhere in the plan. */
export interface StrategySurroundings {
  /** Regions see only sums of masked deltas. */
  readonly masked: boolean;
  /** Noise is calibrated to sums of factors. */
  readonly noised: boolean;
}

/** The rule that regions apply, with what was left open decided. */
export function ruleOf(plan: StrategyPlan, { masked, noised }: StrategySurroundings): RoundRule {
  const { byzantine, trimShare, normBound } = plan;
  const isAsynchronous = plan.asynchronous !== null;
  const combine = plan.combine ?? (masked || noised ? "mean" : "robust");
  const lora = plan.lora ?? (masked || noised || isAsynchronous ? "average" : "stack");
  return { combine: { combine, byzantine, trimShare, normBound }, lora };
}

/** The server's optimizer in a round, from 1, with what was left open at its own defaults. */
export function serverOf(plan: StrategyPlan, round: number): ServerPlan {
  const own = serverDefaults[plan.server];
  const rate = Array.isArray(plan.lr) ? plan.lr[Math.min(round, plan.lr.length) - 1] : plan.lr;
  return {
    server: plan.server,
    learningRate: rate ?? own.learningRate,
    momentum: plan.momentum ?? own.momentum,
    beta1: plan.beta1 ?? own.beta1,
    beta2: plan.beta2 ?? own.beta2,
    tau: plan.tau ?? own.tau,
    biasCorrection: plan.biasCorrection,
  };
}
