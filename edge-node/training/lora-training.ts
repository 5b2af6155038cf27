// One training run from start to end, inside the training process: read, check, learn, write.

import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { Fault } from "../../proto/fault.ts";
import type { Clock } from "../../runtime/clock.ts";
import { type GgufFile, readGguf } from "../../sync/formats/gguf-reader.ts";
import { decodeAdapterState, encodeAdapterState } from "../../sync/formats/lora-adapter.ts";
import { TensorType } from "../../sync/formats/tensor-type.ts";
import { setAdapter, setInitialAdapter, takeAdapter } from "./adapter-exchange.ts";
import { type BatchSchedule, createBatchSchedule } from "./batch-schedule.ts";
import { readExamples } from "./example-file.ts";
import { type ExampleTokenizer, openExampleTokenizer } from "./example-tokenizer.ts";
import { LINEAR_MODULES, readLlamaShape } from "./llama-model.ts";
import { Trainer } from "./trainer.ts";
import type { TokenSequence } from "./training-batch.ts";
import { restoreCheckpoint, saveCheckpoint } from "./training-checkpoint.ts";
import type {
  CompleteTrainingJob,
  TrainingMetrics,
  TrainingProgress,
  TrainingResult,
} from "./training-job.ts";

const CHECKPOINT_FILE = "checkpoint.safetensors";
const STATE_FILE = "adapter-state.safetensors";
const METRICS_FILE = "metrics.json";
/** Batches of private examples over which the loss before and after is taken. */
const LOSS_BATCHES_MAX = 4;
const FLOAT_TYPES = [TensorType.f32, TensorType.f16, TensorType.bf16] as const;
/** ggml's fast kernels want row lengths that are multiples of this. */
const POSITIONS_MULTIPLE = 8;
const SUPERVISED_MULTIPLE = 16;

/** Runs a job. Faults: invalid-argument, unsupported, failed-precondition, internal. */
export async function trainLora(
  job: CompleteTrainingJob,
  clock: Clock,
  onProgress: (progress: TrainingProgress) => void,
): Promise<TrainingResult> {
  const startedMs = clock.monotonicMs();
  const { model, contextTokens } = openBase(job.base);
  const data = await prepareData(job, contextTokens);
  const { trainer, target } = buildTrainer(job, model, data);
  try {
    fs.mkdirSync(job.outputFolder, { recursive: true });
    const checkpointPath = path.join(job.outputFolder, CHECKPOINT_FILE);
    const fingerprint = fingerprintOf(job);
    const notes = restoreCheckpoint(checkpointPath, trainer, (n) => n.job === fingerprint);
    if (!notes) startAdapter(trainer, job, target);
    const lossBatches = lossSample(data.examples, job.batch);
    const lossBefore = notes ? Number(notes.lossBefore) : meanLoss(trainer, lossBatches);

    let tokens = 0;
    const loopStartedMs = clock.monotonicMs();
    for (let step = trainer.updates; step < job.steps; step = trainer.updates) {
      const batch = data.schedule(step);
      const loss = trainer.step(batch, learningRateAt(step, job));
      tokens += batch.reduce((sum, sequence) => sum + sequence.tokens.length, 0);
      onProgress({ step: step + 1, steps: job.steps, loss });
      if (trainer.updates % job.checkpointEverySteps === 0 && trainer.updates < job.steps) {
        saveCheckpoint(checkpointPath, trainer, {
          job: fingerprint,
          lossBefore: String(lossBefore),
        });
      }
    }
    const loopMs = clock.monotonicMs() - loopStartedMs;
    const metrics: TrainingMetrics = {
      lossBefore,
      lossAfter: meanLoss(trainer, lossBatches),
      steps: job.steps,
      examples: data.examples.length,
      replayExamples: data.replayCount,
      skipped: data.skipped,
      tokensPerSecond: Math.round((tokens / Math.max(loopMs, 1)) * 1000),
      durationMs: Math.round(clock.monotonicMs() - startedMs),
      memoryBytes: trainer.byteLength,
    };
    const adapterState = writeResult(job, trainer, metrics);
    fs.rmSync(checkpointPath, { force: true });
    return { adapterState, metrics };
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
  return { model, contextTokens: readLlamaShape(model).contextTokens };
}

async function prepareData(job: CompleteTrainingJob, contextTokens: number): Promise<PreparedData> {
  const ownTexts = readExamples(job.examples);
  const replayTexts = job.replay === undefined ? [] : readExamples(job.replay);
  const tokenizer = await openExampleTokenizer(job.base, contextTokens);
  const fits = ({ tokens }: TokenSequence) => tokens.length <= job.sequenceLength;
  const encodeAll = (texts: typeof ownTexts, by: ExampleTokenizer) =>
    texts.map((text) => by.encode(text)).filter(fits);
  const examples = encodeAll(ownTexts, tokenizer);
  const replay = encodeAll(replayTexts, tokenizer);
  await tokenizer.dispose();
  if (examples.length === 0) {
    throw new Fault(
      "invalid-argument",
      `no example has at most ${job.sequenceLength} tokens; raise sequenceLength`,
    );
  }
  const { batch, replayShare, dataSeed: seed } = job;
  const schedule = createBatchSchedule({ examples, replay, batch, replayShare, seed });
  const supervisedOf = (sequences: readonly TokenSequence[]) =>
    sequences.reduce((sum, { tokens, supervisedFrom }) => sum + tokens.length - supervisedFrom, 0);
  const batches = [
    ...lossSample(examples, batch),
    ...Array.from({ length: job.steps }, (_, step) => schedule(step)),
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

function buildTrainer(job: CompleteTrainingJob, model: GgufFile, data: PreparedData) {
  const modules = job.modules.length > 0 ? job.modules : LINEAR_MODULES;
  const target = { kind: "lora", rank: job.rank, alpha: job.alpha, modules } as const;
  // A base that is coarse already loses nothing by coarse transposed copies, which are faster.
  const baseType = model.tensors.get("blk.0.attn_q.weight")?.type;
  const isFloat = FLOAT_TYPES.some((type) => type === baseType);
  const trainer = new Trainer({
    model,
    target,
    sequences: job.batch,
    positions: data.positions,
    supervised: data.supervised,
    threads: job.threads,
    weightDecay: job.weightDecay,
    clipNorm: job.clipNorm,
    rateShareOfA: job.rateShareOfA,
    transposedType: isFloat ? TensorType.f16 : TensorType.q8_0,
  });
  return { trainer, target };
}

function startAdapter(
  trainer: Trainer,
  job: CompleteTrainingJob,
  target: Parameters<typeof setAdapter>[2],
): void {
  if (job.adapterState === undefined) {
    setInitialAdapter(trainer, job.adapterSeed);
    return;
  }
  const bytes = fs.readFileSync(job.adapterState);
  setAdapter(trainer, decodeAdapterState(bytes, job.adapterState), target);
}

/** Warms up linearly, then falls linearly to the final share. */
function learningRateAt(step: number, job: CompleteTrainingJob): number {
  const warm = job.warmupSteps === 0 ? 1 : Math.min(1, (step + 1) / job.warmupSteps);
  const done = step / Math.max(1, job.steps - 1);
  return job.learningRate * warm * (1 - done * (1 - job.finalLearningRateShare));
}

function lossSample(examples: readonly TokenSequence[], batch: number): TokenSequence[][] {
  const count = Math.min(LOSS_BATCHES_MAX, Math.ceil(examples.length / batch));
  return Array.from({ length: count }, (_, i) => examples.slice(i * batch, (i + 1) * batch));
}

function meanLoss(trainer: Trainer, batches: readonly TokenSequence[][]): number {
  return batches.reduce((sum, batch) => sum + trainer.evaluate(batch), 0) / batches.length;
}

function writeResult(job: CompleteTrainingJob, trainer: Trainer, metrics: TrainingMetrics) {
  const state = path.join(job.outputFolder, STATE_FILE);
  const bytes = encodeAdapterState(takeAdapter(trainer, "llama", job.alpha));
  fs.writeFileSync(`${state}.part`, bytes, { flush: true });
  fs.renameSync(`${state}.part`, state);
  const json = `${JSON.stringify(metrics, null, 2)}\n`;
  fs.writeFileSync(path.join(job.outputFolder, METRICS_FILE), json);
  return state;
}

/** Tells jobs apart, so that a checkpoint is only used by the one that wrote it. */
function fingerprintOf(job: CompleteTrainingJob): string {
  const { outputFolder: _, timeLimitMs: __, threads: ___, ...rest } = job;
  const hash = createHash("sha256").update(JSON.stringify(rest));
  for (const file of [job.examples, job.replay, job.adapterState]) {
    if (file !== undefined) hash.update(fs.readFileSync(file));
  }
  const { size, mtimeMs } = fs.statSync(job.base);
  return hash.update(`${size} ${mtimeMs}`).digest("hex");
}
