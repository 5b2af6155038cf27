// What an edge asks for when it trains, and what it gets.

import { z } from "zod";
import { Fault } from "../../proto/fault.ts";
import { LINEAR_MODULES } from "../../sync/formats/linear-modules.ts";
import { learningShape, problemsOf, type TrainingMetrics } from "./trainer-contract.ts";

export type { TrainingMetrics, TrainingProgress } from "./trainer-contract.ts";

const RANK_MAX = 256;
const THREADS_MAX = 256;
const path = z.string().min(1);
const rank = z.int().min(1).max(RANK_MAX);

const schema = z.strictObject({
  ...learningShape,
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
  /** The campaign's rank: that of `adapterState`. */
  rank,
  /** A lower rank of this edge: it trains only that many of the first components. */
  rankMax: rank.optional(),
  /** The adapter's scale is alpha / rank. */
  alpha: z.number().positive(),
  /** Matrices to adapt; empty means all seven linear ones. */
  modules: z.array(z.enum(LINEAR_MODULES)).default([]),
  /** Must be the same on all edges of a campaign: they average what grows out of it. */
  adapterSeed: z.int().min(0),
  /** Should differ between rounds, so that each sees its examples in another order. */
  dataSeed: z.int().min(0),
  threads: z.int().min(1).max(THREADS_MAX).default(1),
  /** The longest that the trainer may run, pauses not counted; it is killed afterwards. */
  timeLimitMs: z.int().min(1),
  checkpointEverySteps: z.int().min(1).default(50),
});

/** A job as callers write it; what has a default may be left out. */
export type TrainingJob = z.input<typeof schema>;
/** A job with nothing left out. */
export type CompleteTrainingJob = z.output<typeof schema>;

export interface TrainingResult {
  /** Path of the trainer state (see sync/formats/lora-adapter.ts). */
  readonly adapterState: string;
  readonly metrics: TrainingMetrics;
}

/** Checks a job. Faults: invalid-argument, naming each wrong key. */
export function completeTrainingJob(job: unknown): CompleteTrainingJob {
  const parsed = schema.safeParse(job);
  if (parsed.success) return parsed.data;
  throw new Fault("invalid-argument", `the training job is wrong: ${problemsOf(parsed.error)}`);
}
