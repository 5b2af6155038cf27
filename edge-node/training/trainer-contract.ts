// The contract between an edge and a trainer, which is any command: what it reads, what it says on
// its standard output, what it leaves behind. deploy/trainers/README.md tells it to implementers.

import { z } from "zod";
import { Fault, type FaultCode, isFaultCode } from "../../proto/fault.ts";

/** Raised when a trainer that keeps to the old contract would do something wrong. */
export const CONTRACT_VERSION = 1;

/** What a trainer leaves in its output folder; the metrics are written last, and mean success. */
export const ADAPTER_FOLDER = "adapter";
export const METRICS_FILE = "metrics.json";

const STEPS_MAX = 100_000;
const BATCH_MAX = 256;
const SEQUENCE_LENGTH_MAX = 8192;
const THREADS_MAX = 256;
const REPORT_LENGTH_MAX = 65_536;
const MESSAGE_LENGTH_MAX = 500;
const path = z.string().min(1);
const count = z.int().min(0);

/** How to learn; the same in what an edge is asked and in what its trainer is told. */
export const learningShape = {
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
  /** FedProx: the weight of half the squared distance from adapter-in. */
  proximal: z.number().min(0).default(0),
  /** FFA-LoRA: A must come out as it went in. */
  freezeA: z.boolean().default(false),
} as const;

const trainerJobSchema = z.strictObject({
  contract: z.literal(CONTRACT_VERSION),
  /** The frozen GGUF model. */
  base: path,
  /** PEFT folder to go on from; its rank, alpha and modules are those of the result. */
  adapterIn: path,
  /** Private examples, one {"prompt", "completion"} a line. */
  examples: path,
  /** Public examples of the same form that keep the model from forgetting. */
  replay: path.optional(),
  /** Where the adapter, the metrics and whatever the trainer needs to resume go. */
  output: path,
  learning: z.strictObject({
    ...learningShape,
    /**
     * Only that many of adapter-in's first components (rows of A, columns of B) are trained; the
     * rest takes part in every pass, and must come out as it went in.
     */
    trainRank: z.int().min(1),
  }),
  /** Decides the order of the examples, and any other randomness. */
  seed: count,
  limits: z.strictObject({
    /** The trainer is killed beyond these two. */
    timeMs: z.int().min(1),
    memoryBytes: z.int().min(1),
    threads: z.int().min(1).max(THREADS_MAX),
  }),
  checkpointEverySteps: z.int().min(1),
});

/** What a trainer reads from the file that its last argument names. */
export type TrainerJob = z.output<typeof trainerJobSchema>;

const metricsSchema = z.object({
  lossBefore: z.number(),
  lossAfter: z.number(),
  steps: count,
  examples: z.int().min(1),
  replayExamples: count.default(0),
  skipped: count.default(0),
  tokensPerSecond: z.number().min(0).default(0),
  durationMs: z.number().min(0).default(0),
  memoryBytes: z.number().min(0).default(0),
});

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

export interface TrainingProgress {
  readonly step: number;
  readonly steps: number;
  readonly loss: number;
}

const reportSchema = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("progress"), step: count, steps: count, loss: z.number() }),
  z.object({
    kind: z.literal("fault"),
    code: z.custom<FaultCode>((code) => typeof code === "string" && isFaultCode(code)),
    message: z.string(),
  }),
]);

/** One line on a trainer's standard output. */
export type TrainingReport =
  | ({ readonly kind: "progress" } & TrainingProgress)
  /** Why it gives up. The message is told to others, so it must never quote an example. */
  | { readonly kind: "fault"; readonly code: FaultCode; readonly message: string };

/** Checks what a trainer was told. Faults: invalid-argument, naming each wrong key. */
export function parseTrainerJob(job: unknown): TrainerJob {
  const parsed = trainerJobSchema.safeParse(job);
  if (parsed.success) return parsed.data;
  throw new Fault("invalid-argument", `the training job is wrong: ${problemsOf(parsed.error)}`);
}

/** Checks what a trainer measured. Faults: failed-precondition, naming each wrong key. */
export function parseMetrics(text: string): TrainingMetrics {
  const parsed = metricsSchema.safeParse(jsonOf(text));
  if (parsed.success) return parsed.data;
  const problems = problemsOf(parsed.error);
  throw new Fault("failed-precondition", `the trainer's ${METRICS_FILE} is wrong: ${problems}`);
}

/** Reads a line of a trainer's output; undefined for anything that isn't a report. */
export function parseTrainingReport(line: string): TrainingReport | undefined {
  if (!line.startsWith("{") || line.length > REPORT_LENGTH_MAX) return undefined;
  const { data } = reportSchema.safeParse(jsonOf(line));
  return data?.kind === "fault"
    ? { ...data, message: data.message.slice(0, MESSAGE_LENGTH_MAX) }
    : data;
}

/** Each wrong key with what is wrong about it. */
export function problemsOf(error: z.ZodError): string {
  return error.issues.map((i) => `${i.path.join(".") || "job"}: ${i.message}`).join("; ");
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
