// Trains in a process of its own, and answers for it: time limit, abort, and its death.

import { spawn } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import { Fault } from "../../proto/fault.ts";
import { type Clock, systemClock } from "../../runtime/clock.ts";
import {
  completeTrainingJob,
  parseTrainingReport,
  type TrainingJob,
  type TrainingProgress,
  type TrainingReport,
  type TrainingResult,
} from "./training-job.ts";

export interface TrainingOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: TrainingProgress) => void;
  readonly clock?: Clock;
  /** Called with the process id once the process runs. */
  readonly onSpawn?: (pid: number) => void;
}

const JOB_FILE = "job.json";
const PROCESS_FILE = path.join(import.meta.dirname, "training-process.ts");
const STDERR_KEPT_CHARACTERS = 2000;

/**
 * Trains and resolves with the new adapter state and its metrics. A checkpoint that an earlier,
 * interrupted run of the same job left in the output folder is taken up.
 *
 * Faults: invalid-argument (job or data), unsupported (model or library), failed-precondition
 * (adapter), cancelled (signal), deadline-exceeded (time limit), internal (crash or divergence).
 */
export async function runTraining(
  job: TrainingJob,
  options: TrainingOptions = {},
): Promise<TrainingResult> {
  const complete = completeTrainingJob(job);
  const { signal, clock = systemClock } = options;
  if (signal?.aborted) throw new Fault("cancelled", "training was aborted");
  fs.mkdirSync(complete.outputFolder, { recursive: true });
  const jobFile = path.join(complete.outputFolder, JOB_FILE);
  fs.writeFileSync(jobFile, JSON.stringify(complete));

  const child = spawn(process.execPath, [PROCESS_FILE, jobFile], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  if (child.pid !== undefined) options.onSpawn?.(child.pid);
  let stopped: Fault | undefined;
  const stop = (fault: Fault) => {
    stopped ??= fault;
    child.kill("SIGKILL");
  };
  const onAbort = () => stop(new Fault("cancelled", "training was aborted"));
  signal?.addEventListener("abort", onAbort);
  const limit = clock.after(complete.timeLimitMs, () =>
    stop(new Fault("deadline-exceeded", `training took longer than ${complete.timeLimitMs} ms`)),
  );
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr = (stderr + text).slice(-STDERR_KEPT_CHARACTERS);
  });
  let last: TrainingReport | undefined;
  const lines = createInterface({ input: child.stdout });
  lines.on("line", (line) => {
    const report = parseTrainingReport(line);
    if (report?.kind === "progress") options.onProgress?.(report);
    else last = report ?? last;
  });
  try {
    const ending = await new Promise<string>((resolve) => {
      child.once("error", (error) => resolve(error.message));
      child.once("close", (code, name) => resolve(name ?? `exit code ${code}`));
    });
    if (stopped) throw stopped;
    if (last?.kind === "fault") throw new Fault(last.code, last.message);
    if (last?.kind === "result") return { adapterState: last.adapterState, metrics: last.metrics };
    throw new Fault("internal", `the training process died (${ending}): ${stderr.trim()}`);
  } finally {
    limit.cancel();
    signal?.removeEventListener("abort", onAbort);
  }
}
