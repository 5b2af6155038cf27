// Trains by a command that keeps to the trainer's contract: hands over, runs it, takes back.

import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { Fault } from "../../proto/fault.ts";
import { type Clock, systemClock } from "../../runtime/clock.ts";
import type { Handover } from "./adapter-handover.ts";
import { handOverAside, takeBackAside } from "./handover-thread.ts";
import type { ServingPause } from "./serving-pause.ts";
import {
  ADAPTER_FOLDER,
  CONTRACT_VERSION,
  learningShape,
  METRICS_FILE,
  parseMetrics,
  type TrainerJob,
  type TrainingMetrics,
  type TrainingProgress,
} from "./trainer-contract.ts";
import { runTrainer } from "./trainer-run.ts";
import {
  type CompleteTrainingJob,
  completeTrainingJob,
  type TrainingJob,
  type TrainingResult,
} from "./training-job.ts";

/** The trainer of this package; it speaks the contract like any other. */
export const BUILT_IN_TRAINER: readonly string[] = [
  process.execPath,
  path.join(import.meta.dirname, "main.ts"),
];

/** What one machine spares for training, unless it is told otherwise. */
export const MEMORY_BYTES_DEFAULT: number = Math.floor(os.totalmem() / 2);

export interface TrainingOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: TrainingProgress) => void;
  readonly clock?: Clock;
  /** Unix milliseconds after which nobody wants the result, pauses or not. */
  readonly deadlineMs?: number | undefined;
  /** Called with the process id once the process runs. */
  readonly onSpawn?: (pid: number) => void;
  /** The trainer; default: the built-in one. */
  readonly command?: readonly string[] | undefined;
  /** Resident memory beyond which the trainer is killed. */
  readonly memoryBytesMax?: number | undefined;
  /** Pauses the trainer while serving is busy. */
  readonly pausing?: ServingPause | undefined;
}

const JOB_FILE = "job.json";
const METRICS_BYTES_MAX = 65_536;
const LEARNING_KEYS = Object.keys(learningShape) as (keyof typeof learningShape)[];

/**
 * Trains and resolves with the new adapter state and its metrics. What an earlier, interrupted run
 * of the same job left in the output folder is taken up by the trainer.
 *
 * Faults: invalid-argument (job or data), unsupported (model or library), failed-precondition
 * (adapter, result, memory, divergence), cancelled (signal), deadline-exceeded (time limit),
 * internal (crash).
 */
export async function runTraining(
  job: TrainingJob,
  options: TrainingOptions = {},
): Promise<TrainingResult> {
  const complete = completeTrainingJob(job);
  const { outputFolder } = complete;
  fs.mkdirSync(outputFolder, { recursive: true });
  const handover = await handOverAside(complete);
  const { command = BUILT_IN_TRAINER, memoryBytesMax = MEMORY_BYTES_DEFAULT } = options;
  const jobFile = path.join(outputFolder, JOB_FILE);
  const told = trainerJobOf(complete, handover, memoryBytesMax);
  fs.writeFileSync(jobFile, JSON.stringify(told, null, 2));
  // What an earlier run left must not pass for this one's result.
  fs.rmSync(path.join(outputFolder, METRICS_FILE), { force: true });
  fs.rmSync(path.join(outputFolder, ADAPTER_FOLDER), { recursive: true, force: true });
  await runTrainer({
    ...options,
    clock: options.clock ?? systemClock,
    command,
    jobFile,
    memoryBytesMax,
    timeLimitMs: complete.timeLimitMs,
  });
  const metrics = readMetrics(path.join(outputFolder, METRICS_FILE));
  return { adapterState: await takeBackAside(complete), metrics };
}

function trainerJobOf(
  job: CompleteTrainingJob,
  { adapterIn, trainRank }: Handover,
  memoryBytes: number,
): TrainerJob {
  const learning = Object.fromEntries(LEARNING_KEYS.map((key) => [key, job[key]]));
  return {
    contract: CONTRACT_VERSION,
    base: path.resolve(job.base),
    adapterIn: path.resolve(adapterIn),
    examples: path.resolve(job.examples),
    ...(job.replay !== undefined && { replay: path.resolve(job.replay) }),
    output: path.resolve(job.outputFolder),
    learning: { ...learning, trainRank } as TrainerJob["learning"],
    seed: job.dataSeed,
    limits: { timeMs: job.timeLimitMs, memoryBytes, threads: job.threads },
    checkpointEverySteps: job.checkpointEverySteps,
  };
}

function readMetrics(file: string): TrainingMetrics {
  const bytes = fs.statSync(file, { throwIfNoEntry: false })?.size;
  if (bytes === undefined || bytes > METRICS_BYTES_MAX) {
    const found = bytes === undefined ? "no" : `${bytes} bytes of`;
    throw new Fault("failed-precondition", `the trainer ended with ${found} ${METRICS_FILE}`);
  }
  return parseMetrics(fs.readFileSync(file, "utf8"));
}
