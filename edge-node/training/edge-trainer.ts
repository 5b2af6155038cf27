// Training as one edge is configured to do it: which trainer, how much of the machine it gets.

import type { Metrics } from "../../runtime/metrics.ts";
import type { EdgeConfig } from "../config.ts";
import { runTraining, type TrainingOptions } from "./run-training.ts";
import type { ServingPause } from "./serving-pause.ts";
import type { TrainingJob, TrainingResult } from "./training-job.ts";

const MEBIBYTE = 2 ** 20;

/** `runTraining` with this edge's trainer, limits and pauses. */
export function runTrainingOf(
  { command, rankMax, memoryMiBMax }: EdgeConfig["training"],
  pausing: ServingPause,
): (job: TrainingJob, options: TrainingOptions) => Promise<TrainingResult> {
  const memoryBytesMax = memoryMiBMax === undefined ? undefined : memoryMiBMax * MEBIBYTE;
  return (job, options) =>
    runTraining(
      { ...job, ...(rankMax !== undefined && { rankMax }) },
      { ...options, command, memoryBytesMax, pausing },
    );
}

/** Shows on /metrics whether training waits for serving; to be told of every change. */
export function pauseGauge(metrics: Metrics): (isPaused: boolean) => void {
  const gauge = metrics.gauge({
    name: "isthmus_training_paused",
    help: "1 while training waits for serving to be quiet.",
    labels: [],
  });
  gauge.set({}, 0);
  return (isPaused) => gauge.set({}, isPaused ? 1 : 0);
}
