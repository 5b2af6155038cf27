// A thread that merges weights: takes the next that nobody has taken, until none is left.
import { parentPort, workerData } from "node:worker_threads";
import { mergeWeight, type WeightResult, type WeightTask } from "./weight-merge.ts";

export interface WeightMergeWorkerData {
  readonly tasks: readonly WeightTask[];
  /** One number, shared by all threads: the next task to take. */
  readonly next: Int32Array<SharedArrayBuffer>;
}

/** What a thread has done, by task. */
export type WeightMergeReport = readonly (readonly [task: number, result: WeightResult])[];

const { tasks, next } = workerData as WeightMergeWorkerData;
const report: [number, WeightResult][] = [];
for (let i = Atomics.add(next, 0, 1); i < tasks.length; i = Atomics.add(next, 0, 1)) {
  report.push([i, mergeWeight(tasks[i]!)]);
}
parentPort?.postMessage(report satisfies WeightMergeReport);
