// What a campaign remembers: its plan, the round under way, and what the rounds before came to.
// This is the record that is stored before anything is done about it.
import { z } from "zod";
import {
  artifactRefSchema,
  evaluationSchema,
  modelNameSchema,
  trainingStateSchema,
} from "../catalogue/model-record.ts";
import { campaignTriggerSchema } from "./campaign-trigger.ts";
import { roundRulesSchema, trainParamsSchema } from "./params.ts";
import { outOfRules, planSections } from "./plan/plan-sections.ts";

export const buckets = [
  "training",
  "included",
  "late",
  "failed",
  "quarantined",
  "declined",
] as const;
export type BucketName = (typeof buckets)[number];

/** One edge in one round. */
const edgeRoundSchema = z.strictObject({
  edge: z.string(),
  bucket: z.enum(buckets),
  reason: z.string(),
  examples: z.number(),
  deltaBytes: z.number(),
  norm: z.number(),
  lossBefore: z.number(),
  lossAfter: z.number(),
  step: z.number(),
  steps: z.number(),
  /** Of the training steps so far. */
  loss: z.number().default(0),
  /** Bytes of its delta that have arrived, of those that it has. */
  receivedBytes: z.number().default(0),
  totalBytes: z.number().default(0),
});
export type EdgeRound = z.infer<typeof edgeRoundSchema>;

const partialSchema = z.strictObject({
  artifact: artifactRefSchema,
  weight: z.number(),
  contributors: z.array(z.string()),
  rank: z.int(),
  alpha: z.number(),
  /** Sums of changes, or LoRA factors side by side. */
  kind: z.enum(["sum", "stack"]).default("sum"),
  /** Edges whose deltas were accepted but that the round's rule did not take. */
  leftOut: z.array(z.strictObject({ edge: z.string(), reason: z.string() })).default([]),
  /** Where it can be pulled from. */
  http: z.string(),
});
export type RegionPartialRef = z.infer<typeof partialSchema>;

/** One region in one round. */
export const regionRoundSchema = z.strictObject({
  region: z.string(),
  /** silent: has not answered; open: at work; done: has said its last word; pulled: we have its
   * partial; excluded: done, or given up, without one. */
  phase: z.enum(["silent", "open", "done", "pulled", "excluded"]),
  reason: z.string(),
  /** Deltas that it should bring in; 0 means all it can. */
  goal: z.int().min(0).default(0),
  edges: z.array(edgeRoundSchema),
  partial: partialSchema.nullable(),
});
export type RegionRound = z.infer<typeof regionRoundSchema>;

export const roundPhases = [
  "planned",
  "offered",
  "training",
  "collecting",
  "merging",
  "evaluating",
  "canary",
  "promoted",
  "abandoned",
  "rejected",
  "rolled-back",
] as const;
export type RoundPhase = (typeof roundPhases)[number];

export const roundSchema = z.strictObject({
  number: z.int().min(1),
  phase: z.enum(roundPhases),
  reason: z.string(),
  startedMs: z.int(),
  deadlineMs: z.int(),
  endedMs: z.int().nullable(),
  /** What deltas are clipped to, where it isn't the plan's. */
  clip: z.number().positive().nullable().default(null),
  regions: z.array(regionRoundSchema),
  /** The version merged from it. */
  version: z.string().nullable(),
  training: trainingStateSchema.nullable(),
  evaluations: z.array(evaluationSchema),
  /** Edges that did not report the version in time; null until the rollout is over. */
  stragglers: z.array(z.string()).nullable(),
});
export type RoundState = z.infer<typeof roundSchema>;

/** What is kept of a round with the campaign; the whole of it is a record of its own. */
export const roundSummarySchema = z.strictObject({
  number: z.int(),
  phase: z.enum(roundPhases),
  reason: z.string(),
  startedMs: z.int(),
  endedMs: z.int(),
  version: z.string().nullable(),
  /** How many edges ended in each bucket. */
  buckets: z.record(z.string(), z.int()),
  /** Regions without a contribution, each with its reason. */
  excluded: z.array(z.strictObject({ region: z.string(), reason: z.string() })),
  /** `<region>/<edge>` of deltas that the regions' rule did not take, each with its reason. */
  leftOut: z.array(z.strictObject({ edge: z.string(), reason: z.string() })).default([]),
  examples: z.number(),
  deltaBytes: z.number(),
  /** Means over the included edges, weighted by examples. */
  lossBefore: z.number(),
  lossAfter: z.number(),
  evaluations: z.array(evaluationSchema),
  stragglers: z.array(z.string()),
});
export type RoundSummary = z.infer<typeof roundSummarySchema>;

export const campaignPhases = ["measuring", "running", "finished", "stopped"] as const;

const wholeCampaignSchema = z.strictObject({
  ...planSections,
  id: z.string(),
  model: modelNameSchema,
  createdMs: z.int(),
  endedMs: z.int().nullable(),
  trigger: campaignTriggerSchema.prefault({ kind: "operator" }),
  rounds: z.int().min(1),
  params: trainParamsSchema,
  rules: roundRulesSchema,
  regions: z.array(z.string()),
  replay: artifactRefSchema.nullable(),
  heldout: artifactRefSchema,
  phase: z.enum(campaignPhases),
  reason: z.string(),
  startVersion: z.string(),
  /** What the next round trains on top of. */
  good: z.strictObject({ version: z.string(), training: trainingStateSchema.nullable() }),
  /** How the model did when the campaign began. */
  baseline: z.array(evaluationSchema).nullable(),
  /** How the last promoted version does. */
  latest: z.array(evaluationSchema).nullable(),
  /** Rounds in a row that were refused or rolled back. */
  rejections: z.int().min(0),
  abandonedInRow: z.int().min(0),
  /** The next round's clip, where it has moved from the plan's. */
  clip: z.number().positive().nullable().default(null),
  round: roundSchema.nullable(),
  /** The round that ended last, whole. */
  last: roundSchema.nullable(),
  /** Rounds that are over, oldest first. */
  past: z.array(roundSummarySchema),
});
export const campaignSchema = z.preprocess(outOfRules, wholeCampaignSchema);
export type CampaignState = z.infer<typeof campaignSchema>;

export function isOver(campaign: CampaignState): boolean {
  return campaign.phase === "finished" || campaign.phase === "stopped";
}
