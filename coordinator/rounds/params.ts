// The knobs of a campaign: defaults found on the demo model, and the bounds of what is accepted.
import { z } from "zod";

export const ROUNDS_MAX = 200;

/** How each edge trains. Source of the defaults: runs on the demo model, q8_0 base. */
export const trainParamsSchema = z.strictObject({
  rank: z.int().min(1).max(256).default(16),
  alpha: z.number().positive().max(4096).default(32),
  learningRate: z.number().positive().max(1).default(4e-3),
  /** Optimizer steps of one edge in one round. */
  steps: z.int().min(1).max(10_000).default(45),
  batch: z.int().min(1).max(1024).default(16),
  /** Tokens of one training sequence. */
  sequenceLength: z.int().min(8).max(8192).default(52),
  /** Share of each batch drawn from the public replay set. */
  replayShare: z.number().min(0).max(1).default(0.33),
  /** L2 norm beyond which a delta is quarantined; 0 means no bound. */
  normMax: z.number().min(0).default(0),
  /** Trainable modules, e.g. attn_q; empty means all linear ones. */
  targets: z.array(z.string().min(1).max(64)).max(32).default([]),
  seed: z.int().min(0).default(1),
});
export type TrainPlan = z.infer<typeof trainParamsSchema>;

/** How the rounds are run. */
export const roundRulesSchema = z.strictObject({
  /** Fewest edges whose deltas make a round; below, it is abandoned. */
  quorum: z.int().min(1).max(100_000).default(1),
  /** Longest from the offer to the last delta. */
  roundTimeoutMs: z.int().min(1_000).max(86_400_000).default(300_000),
  /** Points of exact match that a round may cost the public set against the campaign's start. */
  gateMarginPoints: z.number().min(0).max(100).default(5),
  /** Examples of each set that an evaluation takes. */
  examplesMax: z.int().min(1).max(10_000).default(100),
});
export type RoundRules = z.infer<typeof roundRulesSchema>;
