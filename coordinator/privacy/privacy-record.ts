// What is remembered of a model's privacy: its budget, and each round's charge against it.
import { z } from "zod";
import type { NoisedRounds } from "../../sync/privacy/rdp-accountant.ts";
import { modelNameSchema } from "../catalogue/model-record.ts";

/** Set once, tightened later, never loosened. */
export const budgetSchema = z.strictObject({
  model: modelNameSchema,
  /** Probability with which the promise may fail. */
  delta: z.number().gt(0).lt(1),
  /** ε for all rounds together; null bounds nothing, and still counts. */
  epsilon: z.number().positive().nullable(),
});
export type PrivacyBudget = z.infer<typeof budgetSchema>;

export const chargeSchema = z.strictObject({
  model: modelNameSchema,
  campaign: z.string(),
  round: z.int().min(1),
  multiplier: z.number().positive(),
  /** Probability with which an edge is invited: 1, since every edge that is ready is. */
  samplingRate: z.number().gt(0).max(1),
  at: z.enum(["center", "edge"]),
  /** reserved: the round is under way; spent: its result exists; released: it never came to be. */
  state: z.enum(["reserved", "spent", "released"]),
  atMs: z.int(),
});
export type PrivacyCharge = z.infer<typeof chargeSchema>;

export function budgetKey(model: string): string {
  return `privacy.${model}`;
}

/** Charges of a model start so; those of models whose names go on do too. */
export function chargePrefix(model: string): string {
  return `charge.${model}.`;
}

export function chargeKey({ model, campaign, round }: Omit<PrivacyCharge, "state">): string {
  return `${chargePrefix(model)}${campaign}.${round}`;
}

/** Charges that count, as the accountant takes them: rounds of one kind together. */
export function spentRounds(charges: readonly PrivacyCharge[]): readonly NoisedRounds[] {
  const kinds = new Map<string, NoisedRounds>();
  for (const { multiplier, samplingRate, state } of charges) {
    if (state === "released") continue;
    const key = `${multiplier}/${samplingRate}`;
    const rounds = (kinds.get(key)?.rounds ?? 0) + 1;
    kinds.set(key, { multiplier, samplingRate, rounds });
  }
  return [...kinds.values()];
}
