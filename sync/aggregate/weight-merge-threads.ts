// Merges weights in threads: the singular values of large stacks take seconds, in which a
// coordinator has others to answer. Small ones are done before a thread would have started.
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { Fault } from "../../proto/fault.ts";
import { costOf, mergeWeight, type WeightResult, type WeightTask } from "./weight-merge.ts";
import type { WeightMergeReport, WeightMergeWorkerData } from "./weight-merge-worker.ts";

const THREADS_MAX = 16;
/** Multiplications that take some milliseconds. */
const SMALL_COST = 1 << 22;

export interface WeightMergeOptions {
  /** Most threads; every core by default. */
  readonly threadsMax?: number | undefined;
}

/** Results in the tasks' order; they don't depend on how many threads there are. */
export async function mergeWeights(
  tasks: readonly WeightTask[],
  { threadsMax = availableParallelism() }: WeightMergeOptions = {},
): Promise<readonly WeightResult[]> {
  const cost = tasks.reduce((sum, task) => sum + costOf(task), 0);
  if (cost <= SMALL_COST) return tasks.map(mergeWeight);
  const next = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  const threads = Math.min(threadsMax, THREADS_MAX, tasks.length);
  const reports = await Promise.all(
    Array.from({ length: threads }, () => runWorker({ tasks, next })),
  );
  const results = new Map(reports.flat());
  return tasks.map((_, i) => results.get(i)!);
}

function runWorker(workerData: WeightMergeWorkerData): Promise<WeightMergeReport> {
  const { promise, resolve, reject } = Promise.withResolvers<WeightMergeReport>();
  const worker = new Worker(new URL("./weight-merge-worker.ts", import.meta.url), { workerData });
  worker.once("message", resolve);
  worker.once("error", (cause: Error) => {
    reject(new Fault("internal", `a merge failed: ${cause.message}`, { cause }));
  });
  worker.once("exit", (code) => {
    reject(new Fault("internal", `a merging thread ended with code ${code}`));
  });
  return promise;
}
