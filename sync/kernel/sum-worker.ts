// A thread that sums: takes the next stripe that nobody has taken, until none is left.
import { workerData } from "node:worker_threads";
import { StripeSum } from "./stripe-sum.ts";
import { type SumJob, stripesOf } from "./sum-job.ts";

export interface SumWorkerData {
  readonly job: SumJob;
  /** One number, shared by all threads of the job: the next stripe to take. */
  readonly next: Int32Array<SharedArrayBuffer>;
}

const { job, next } = workerData as SumWorkerData;
const stripes = stripesOf(job.counts);
const sum = new StripeSum(job);
for (let i = Atomics.add(next, 0, 1); i < stripes.length; i = Atomics.add(next, 0, 1)) {
  sum.run(stripes[i]!);
}
