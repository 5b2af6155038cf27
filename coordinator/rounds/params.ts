// The knobs of a campaign: defaults found on the demo model, and the bounds of what is accepted.
import { z } from "zod";

export const ROUNDS_MAX = 200;

/** How each edge trains. */
export const trainParamsSchema = z.strictObject({
  rank: z.int().min(1).max(256),
  alpha: z.number().positive().max(4096),
  learningRate: z.number().positive().max(1),
  /** Learning rate of the last round as a share of the first one's; in between, geometrically. */
  finalRateShare: z.number().min(0.01).max(1),
  /** Optimizer steps of one edge in one round. */
  steps: z.int().min(1).max(10_000),
  batch: z.int().min(1).max(1024),
  /** Tokens of one training sequence. */
  sequenceLength: z.int().min(8).max(8192),
  /** Share of each batch drawn from the public replay set. */
  replayShare: z.number().min(0).max(1),
  /** L2 norm beyond which a delta is quarantined; 0 means no bound. */
  normMax: z.number().min(0),
  /** Trainable modules, e.g. attn_q; empty means all linear ones. */
  targets: z.array(z.string().min(1).max(64)).max(32),
  /** FedProx: how strongly each edge is held near the round's start; 0 means not at all. */
  proximal: z.number().min(0).default(0),
  seed: z.int().min(0),
});
export type TrainPlan = z.infer<typeof trainParamsSchema>;

/**
 * Source: deploy/demo-model/simulate-rounds.ts on the q8_0 base, three dialects, 10 rounds. Exact
 * match of home, media, appliance, garden in the end, by learning rate and its final share:
 * 4e-3 and 0.2: .94 .92 .88 .86; 2.5e-3 and 0.2: .96 .90 .82 .82; 1.5e-3 and 0.5: .96 .78 .74 .78;
 * all falling evenly. On the mesh, falling geometrically: .98 .96 .92 .94 (`prove:rounds`).
 */
export const trainDefaults: TrainPlan = {
  rank: 16,
  alpha: 32,
  learningRate: 4e-3,
  // Late rounds average what edges found apart: small steps keep them close to each other.
  finalRateShare: 0.2,
  steps: 40,
  batch: 8,
  sequenceLength: 64,
  replayShare: 0.3,
  normMax: 0,
  targets: [],
  proximal: 0,
  seed: 1,
};

/** How the rounds are judged. */
export const roundRulesSchema = z.strictObject({
  /** Examples of each set that an evaluation takes. */
  examplesMax: z.int().min(1).max(10_000),
});
export type RoundRules = z.infer<typeof roundRulesSchema>;

export const ruleDefaults: RoundRules = {
  examplesMax: 100,
};
