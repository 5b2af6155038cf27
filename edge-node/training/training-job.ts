// What one training run is asked to do, what it reports, and the words between edge and child.

import { z } from "zod";
import { Fault, type FaultCode, faultKinds } from "../../proto/fault.ts";
import { LINEAR_MODULES } from "./llama-model.ts";

const STEPS_MAX = 100_000;
const RANK_MAX = 256;
const BATCH_MAX = 256;
const SEQUENCE_LENGTH_MAX = 8192;
const THREADS_MAX = 256;
const path = z.string().min(1);

const schema = z.strictObject({
  /** The frozen GGUF model. */
  base: path,
  /** Trainer state to go on from; absent: B = 0 and A drawn from `adapterSeed`. */
  adapterState: path.optional(),
  /** Private examples, one {"prompt", "completion"} a line. */
  examples: path,
  /** Public examples of the same form that keep the model from forgetting. */
  replay: path.optional(),
  /** Where checkpoint, result and metrics go. */
  outputFolder: path,
  rank: z.int().min(1).max(RANK_MAX),
  /** The adapter's scale is alpha / rank. */
  alpha: z.number().positive(),
  /** Matrices to adapt; empty means all seven linear ones. */
  modules: z.array(z.enum(LINEAR_MODULES)).default([]),
  learningRate: z.number().positive().max(1),
  /** The share of the learning rate that the last step has; it falls linearly. */
  finalLearningRateShare: z.number().min(0).max(1).default(0.3),
  /**
   * The learning rate of A as a share of B's. Averaging A and B apart is exact as far as A stays
   * the same on all edges, so a small share loses less in a merge. Source: LoRA+, FFA-LoRA.
   */
  rateShareOfA: z.number().min(0).max(1).default(1),
  warmupSteps: z.int().min(0).max(STEPS_MAX).default(5),
  steps: z.int().min(1).max(STEPS_MAX),
  /** Sequences a step. */
  batch: z.int().min(1).max(BATCH_MAX),
  /** Examples with more tokens than this are left out. */
  sequenceLength: z.int().min(2).max(SEQUENCE_LENGTH_MAX),
  /** The share of each batch that comes from the replay set. */
  replayShare: z.number().min(0).max(0.95).default(0),
  weightDecay: z.number().min(0).max(1).default(0),
  clipNorm: z.number().positive().default(1),
  /** Must be the same on all edges of a campaign: they average what grows out of it. */
  adapterSeed: z.int().min(0),
  /** Should differ between rounds, so that each sees its examples in another order. */
  dataSeed: z.int().min(0),
  threads: z.int().min(1).max(THREADS_MAX).default(1),
  /** The longest that the run may take; it is killed afterwards. */
  timeLimitMs: z.int().min(1),
  checkpointEverySteps: z.int().min(1).default(50),
});

/** A job as callers write it; what has a default may be left out. */
export type TrainingJob = z.input<typeof schema>;
/** A job with nothing left out. */
export type CompleteTrainingJob = z.output<typeof schema>;

/** What a run did. Losses are means a learned token, over the same private examples. */
export interface TrainingMetrics {
  readonly lossBefore: number;
  readonly lossAfter: number;
  readonly steps: number;
  /** Private examples that were used: the weight of this result in an average. */
  readonly examples: number;
  readonly replayExamples: number;
  /** Examples left out because they were too long. */
  readonly skipped: number;
  readonly tokensPerSecond: number;
  readonly durationMs: number;
  readonly memoryBytes: number;
}

export interface TrainingResult {
  /** Path of the trainer state (see sync/formats/lora-adapter.ts). */
  readonly adapterState: string;
  readonly metrics: TrainingMetrics;
}

export interface TrainingProgress {
  readonly step: number;
  readonly steps: number;
  readonly loss: number;
}

/** One line on the child's standard output. */
export type TrainingReport =
  | ({ readonly kind: "progress" } & TrainingProgress)
  | ({ readonly kind: "result" } & TrainingResult)
  | { readonly kind: "fault"; readonly code: FaultCode; readonly message: string };

/** Checks a job. Faults: invalid-argument, naming each wrong key. */
export function completeTrainingJob(job: unknown): CompleteTrainingJob {
  const parsed = schema.safeParse(job);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map((i) => `${i.path.join(".") || "job"}: ${i.message}`);
  throw new Fault("invalid-argument", `the training job is wrong: ${problems.join("; ")}`);
}

/** Reads a line of the child's output; undefined for anything that isn't a report. */
export function parseTrainingReport(line: string): TrainingReport | undefined {
  if (!line.startsWith('{"kind":')) return undefined;
  try {
    const report = JSON.parse(line) as TrainingReport;
    const known = report.kind !== "fault" || report.code in faultKinds;
    return known ? report : undefined;
  } catch {
    return undefined;
  }
}
