// One training run from start to end, inside the training process: read, check, learn, write.

import fs from "node:fs";
import path from "node:path";
import { Fault } from "../../proto/fault.ts";
import type { Clock } from "../../runtime/clock.ts";
import { type GgufFile, readGguf } from "../../sync/formats/gguf-reader.ts";
import { LINEAR_MODULES } from "../../sync/formats/linear-modules.ts";
import { adapterRank, type LoraAdapter, requireFinite } from "../../sync/formats/lora-adapter.ts";
import { readPeftAdapter, writePeftAdapter } from "../../sync/formats/peft-adapter.ts";
import { TensorType } from "../../sync/formats/tensor-type.ts";
import { setAdapter, takeAdapter } from "./adapter-exchange.ts";
import { type BatchSchedule, createBatchSchedule } from "./batch-schedule.ts";
import { readExamples } from "./example-file.ts";
import { type ExampleTokenizer, openExampleTokenizer } from "./example-tokenizer.ts";
import { type LlamaShape, readLlamaShape } from "./llama-model.ts";
import { RunCheckpoint } from "./run-checkpoint.ts";
import { Trainer } from "./trainer.ts";
import {
  ADAPTER_FOLDER,
  METRICS_FILE,
  type TrainerJob,
  type TrainingMetrics,
  type TrainingProgress,
} from "./trainer-contract.ts";
import type { TokenSequence } from "./training-batch.ts";

/** Batches of private examples over which the loss before and after is taken. */
const LOSS_BATCHES_MAX = 4;
const FLOAT_TYPES = [TensorType.f32, TensorType.f16, TensorType.bf16] as const;
/** ggml's fast kernels want row lengths that are multiples of this. */
const POSITIONS_MULTIPLE = 8;
const SUPERVISED_MULTIPLE = 16;

/**
 * Runs a job: leaves the adapter and, last, the metrics in the output folder.
 * Faults: invalid-argument, unsupported, failed-precondition.
 */
export async function trainLora(
  job: TrainerJob,
  clock: Clock,
  onProgress: (progress: TrainingProgress) => void,
): Promise<TrainingMetrics> {
  const startedMs = clock.monotonicMs();
  const { model, shape } = openBase(job.base);
  const start = readPeftAdapter(job.adapterIn, shape);
  requireFinite(start);
  const data = await prepareData(job, shape.contextTokens);
  const { trainer, target } = buildTrainer(job, model, start, data);
  try {
    requireMemory(trainer.byteLength, job.limits.memoryBytes);
    fs.mkdirSync(job.output, { recursive: true });
    const checkpoint = new RunCheckpoint(job, trainer, clock);
    setAdapter(trainer, start, target);
    trainer.parameters.anchor();
    const lossBatches = lossSample(data.examples, job.learning.batch);
    const lossBefore = checkpoint.restore() ?? lossOfStart(trainer, lossBatches);

    let tokens = 0;
    const { steps } = job.learning;
    const loopStartedMs = clock.monotonicMs();
    for (let step = trainer.updates; step < steps; step = trainer.updates) {
      const batch = data.schedule(step);
      const loss = trainer.step(batch, learningRateAt(step, job.learning));
      tokens += batch.reduce((sum, sequence) => sum + sequence.tokens.length, 0);
      onProgress({ step: step + 1, steps, loss });
      if (trainer.updates < steps) checkpoint.saveIfDue(lossBefore);
    }
    const loopMs = clock.monotonicMs() - loopStartedMs;
    const metrics: TrainingMetrics = {
      lossBefore,
      lossAfter: meanLoss(trainer, lossBatches),
      steps,
      examples: data.examples.length,
      replayExamples: data.replayCount,
      skipped: data.skipped,
      tokensPerSecond: Math.round((tokens / Math.max(loopMs, 1)) * 1000),
      durationMs: Math.round(clock.monotonicMs() - startedMs),
      memoryBytes: trainer.byteLength,
    };
    writeResult(job, takeAdapter(trainer, "llama", target), shape, metrics);
    checkpoint.remove();
    return metrics;
  } finally {
    trainer.free();
  }
}

interface PreparedData {
  readonly examples: readonly TokenSequence[];
  readonly replayCount: number;
  readonly skipped: number;
  readonly schedule: BatchSchedule;
  /** Positions that the longest sequence needs. */
  readonly positions: number;
  /** The most supervised tokens of any batch of this run. */
  readonly supervised: number;
}

function openBase(file: string) {
  if (!fs.existsSync(file)) throw new Fault("invalid-argument", `${file} doesn't exist`);
  const model = readGguf(file);
  return { model, shape: readLlamaShape(model) };
}

async function prepareData(job: TrainerJob, contextTokens: number): Promise<PreparedData> {
  const ownTexts = readExamples(job.examples);
  const replayTexts = job.replay === undefined ? [] : readExamples(job.replay);
  const tokenizer = await openExampleTokenizer(job.base, contextTokens);
  const fits = ({ tokens }: TokenSequence) => tokens.length <= job.learning.sequenceLength;
  const encodeAll = (texts: typeof ownTexts, by: ExampleTokenizer) =>
    texts.map((text) => by.encode(text)).filter(fits);
  const examples = encodeAll(ownTexts, tokenizer);
  const replay = encodeAll(replayTexts, tokenizer);
  await tokenizer.dispose();
  if (examples.length === 0) {
    throw new Fault(
      "invalid-argument",
      `no example has at most ${job.learning.sequenceLength} tokens; raise sequenceLength`,
    );
  }
  const { batch, replayShare, steps } = job.learning;
  const { seed } = job;
  const schedule = createBatchSchedule({ examples, replay, batch, replayShare, seed });
  const supervisedOf = (sequences: readonly TokenSequence[]) =>
    sequences.reduce((sum, { tokens, supervisedFrom }) => sum + tokens.length - supervisedFrom, 0);
  const batches = [
    ...lossSample(examples, batch),
    ...Array.from({ length: steps }, (_, step) => schedule(step)),
  ];
  const most = batches.reduce((max, sequences) => Math.max(max, supervisedOf(sequences)), 0);
  const longest = [...examples, ...replay].reduce((n, { tokens }) => Math.max(n, tokens.length), 0);
  return {
    examples,
    replayCount: replay.length,
    skipped: ownTexts.length + replayTexts.length - examples.length - replay.length,
    schedule,
    positions: roundUp(longest - 1, POSITIONS_MULTIPLE),
    supervised: roundUp(most, SUPERVISED_MULTIPLE),
  };
}

function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}

function buildTrainer(
  { learning, limits }: TrainerJob,
  model: GgufFile,
  start: LoraAdapter,
  data: PreparedData,
) {
  const modules = LINEAR_MODULES.filter((module) =>
    [...start.modules.keys()].some((name) => name.endsWith(`.${module}.weight`)),
  );
  const { alpha } = start;
  const rank = adapterRank(start);
  const { freezeA } = learning;
  const trainedRank = Math.min(rank, learning.trainRank);
  const target = { kind: "lora", rank, alpha, modules, freezeA, trainedRank } as const;
  // A base that is coarse already loses nothing by coarse transposed copies, which are faster.
  const baseType = model.tensors.get("blk.0.attn_q.weight")?.type;
  const isFloat = FLOAT_TYPES.some((type) => type === baseType);
  const trainer = new Trainer({
    ...learning,
    model,
    target,
    sequences: learning.batch,
    positions: data.positions,
    supervised: data.supervised,
    threads: limits.threads,
    transposedType: isFloat ? TensorType.f16 : TensorType.q8_0,
  });
  return { trainer, target };
}

function requireMemory(neededBytes: number, limitBytes: number): void {
  if (neededBytes <= limitBytes) return;
  const [needed, limit] = [neededBytes, limitBytes].map((bytes) => Math.ceil(bytes / 2 ** 20));
  throw new Fault(
    "failed-precondition",
    `training needs ${needed} MiB of memory, its limit is ${limit}; use smaller or shorter batches`,
  );
}

/** The first numbers that come out, so that a base which holds none is told from a bad rate. */
function lossOfStart(trainer: Trainer, batches: readonly TokenSequence[][]): number {
  try {
    return meanLoss(trainer, batches);
  } catch (cause) {
    throw new Fault(
      "failed-precondition",
      "the loss isn't finite before the first step: the base holds numbers that aren't",
      { cause },
    );
  }
}

/** Warms up linearly, then falls linearly to the final share. */
function learningRateAt(step: number, learning: TrainerJob["learning"]): number {
  const { learningRate, finalLearningRateShare, warmupSteps, steps } = learning;
  const warm = warmupSteps === 0 ? 1 : Math.min(1, (step + 1) / warmupSteps);
  const done = step / Math.max(1, steps - 1);
  return learningRate * warm * (1 - done * (1 - finalLearningRateShare));
}

function lossSample(examples: readonly TokenSequence[], batch: number): TokenSequence[][] {
  const count = Math.min(LOSS_BATCHES_MAX, Math.ceil(examples.length / batch));
  return Array.from({ length: count }, (_, i) => examples.slice(i * batch, (i + 1) * batch));
}

function meanLoss(trainer: Trainer, batches: readonly TokenSequence[][]): number {
  return batches.reduce((sum, batch) => sum + trainer.evaluate(batch), 0) / batches.length;
}

/** The metrics last: with them, the result is whole. */
function writeResult(
  job: TrainerJob,
  adapter: LoraAdapter,
  shape: LlamaShape,
  metrics: TrainingMetrics,
): void {
  writePeftAdapter(path.join(job.output, ADAPTER_FOLDER), adapter, shape);
  const file = path.join(job.output, METRICS_FILE);
  fs.writeFileSync(`${file}.part`, `${JSON.stringify(metrics, null, 2)}\n`, { flush: true });
  fs.renameSync(`${file}.part`, file);
}
