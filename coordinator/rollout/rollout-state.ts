// What is remembered of a version's way to the edges: stored before anything is done about it.
import { z } from "zod";
import { evaluationSchema, modelNameSchema } from "../catalogue/model-record.ts";
import { gatePlanSchema } from "../rounds/plan/gate-plan.ts";

export const rolloutPhases = [
  /** Being measured beside the incumbent, before any caller gets it. */
  "gating",
  /** Some edges serve it: first the canaries, then those of a wave. */
  "canary",
  "wave",
  /** Everybody gets it, and it is still watched. */
  "watching",
  /** It is to be taken back from every edge. */
  "withdrawing",
  "promoted",
  /** The gate let no caller have it. */
  "refused",
  "rolled-back",
  /** Something else was made the served version meanwhile. */
  "superseded",
] as const;
export type RolloutPhase = (typeof rolloutPhases)[number];

export const rolloutReasons = ["round", "promote"] as const;
export type RolloutReason = (typeof rolloutReasons)[number];

/** Rollouts remembered of each model beside the last. */
export const PAST_MAX = 50;

const pastSchema = z.strictObject({
  number: z.int().min(1),
  version: z.string(),
  incumbent: z.string(),
  phase: z.enum(rolloutPhases),
  reason: z.string(),
  startedMs: z.int(),
  endedMs: z.int(),
});
export type PastRollout = z.infer<typeof pastSchema>;

export const rolloutSchema = z.strictObject({
  model: modelNameSchema,
  /** Counts the model's rollouts, from 1. */
  number: z.int().min(1),
  version: z.string(),
  /** What was served when it began, and is served again when it is rolled back. */
  incumbent: z.string(),
  why: z.enum(rolloutReasons),
  plan: gatePlanSchema,
  phase: z.enum(rolloutPhases),
  reason: z.string(),
  /** Callers fared worse with it: it is not to be served again without force. */
  isCondemned: z.boolean(),
  startedMs: z.int(),
  endedMs: z.int().nullable(),
  /** 0 for the canaries, then counting the waves. */
  stage: z.int().min(0),
  /** Since when the stage, or the watching, goes on. */
  stageSinceMs: z.int(),
  /** Since when all of its edges serve the version; null until then. */
  settledMs: z.int().nullable(),
  /** `<region>/<edge>` of those that try it, sorted. */
  edges: z.array(z.string()),
  /** What the gate compared; empty where a campaign has done that before. */
  reference: z.array(evaluationSchema),
  measured: z.array(evaluationSchema),
  /** Stages that ended without enough requests to conclude from. */
  unsure: z.array(z.string()),
  past: z.array(pastSchema),
});
export type RolloutState = z.infer<typeof rolloutSchema>;

/** Whether nothing more will become of it. */
export function isEnded({ phase }: RolloutState): boolean {
  return ["promoted", "refused", "rolled-back", "superseded"].includes(phase);
}

/** Whether everybody is to serve it. */
export function isForAll({ phase }: RolloutState): boolean {
  return phase === "watching" || phase === "promoted";
}

/** What is kept of a rollout once the next one begins. */
export function pastOf(state: RolloutState): PastRollout[] {
  const { number, version, incumbent, phase, reason, startedMs } = state;
  const ended = { number, version, incumbent, phase, reason, startedMs };
  return [...state.past, { ...ended, endedMs: state.endedMs ?? startedMs }].slice(-PAST_MAX);
}
