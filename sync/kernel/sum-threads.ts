// Runs a job in threads, as many as there are cores and stripes, away from the event loop. A small
// one is done before a thread would have started, so it is done in place.
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { Fault } from "../../proto/fault.ts";
import { StripeSum } from "./stripe-sum.ts";
import { type SumJob, stripesOf } from "./sum-job.ts";
import type { SumWorkerData } from "./sum-worker.ts";

const THREADS_MAX = 16;
/** Numbers to add, of all inputs together, that take a few milliseconds. */
const SMALL_NUMBERS = 1 << 21;

/**
 * Resolves once every stripe is written. The sums don't depend on how many threads there are.
 * Faults: `internal` when a file can't be read or written; the others have stopped by then.
 */
export async function runSumJob(job: SumJob, threadsMax = availableParallelism()): Promise<void> {
  if (numbersOf(job) <= SMALL_NUMBERS) {
    const sum = new StripeSum(job);
    for (const stripe of stripesOf(job.counts)) sum.run(stripe);
    return;
  }
  const stripes = stripesOf(job.counts).length;
  const threads = Math.min(threadsMax, THREADS_MAX, stripes);
  const next = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  const ends = Array.from({ length: threads }, () =>
    runWorker({ job, next }).catch((thrown: unknown) => {
      // Nothing is left for the others to take.
      Atomics.store(next, 0, stripes);
      throw thrown;
    }),
  );
  for (const end of await Promise.allSettled(ends)) {
    if (end.status === "rejected") throw end.reason;
  }
}

function numbersOf({ counts, inputs }: SumJob): number {
  return counts.reduce((sum, count) => sum + count, 0) * inputs.length;
}

function runWorker(workerData: SumWorkerData): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const worker = new Worker(new URL("./sum-worker.ts", import.meta.url), { workerData });
  worker.once("error", (cause: Error) => {
    reject(new Fault("internal", `a sum failed: ${cause.message}`, { cause }));
  });
  worker.once("exit", (code) => {
    if (code === 0) resolve();
    else reject(new Fault("internal", `a summing thread ended with code ${code}`));
  });
  return promise;
}
