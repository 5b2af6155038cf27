// Makes a region's partial in a thread of its own: rules that compare all pairs of deltas, medians
// and stacks take seconds for large adapters, in which the gateway has callers to answer. A small
// job is done before a thread would have started.
import { stat } from "node:fs/promises";
import { Worker } from "node:worker_threads";
import { Fault } from "../../proto/fault.ts";
import { doPartialJob, type PartialJob, type PartialOutcome } from "./partial-job.ts";
import type { PartialReport } from "./partial-worker.ts";

/** Bytes of all deltas times their number, since rules compare pairs: some milliseconds. */
const SMALL_COST = 1 << 23;

/** Faults: those of `doPartialJob`; `internal` when the thread dies. */
export async function runPartialJob(job: PartialJob): Promise<PartialOutcome> {
  return (await costOf(job)) <= SMALL_COST ? await doPartialJob(job) : await runWorker(job);
}

async function costOf({ members }: PartialJob): Promise<number> {
  const sizes = await Promise.all(members.map(async ({ path }) => (await stat(path)).size));
  return sizes.reduce((sum, bytes) => sum + bytes, 0) * members.length;
}

function runWorker(workerData: PartialJob): Promise<PartialOutcome> {
  const { promise, resolve, reject } = Promise.withResolvers<PartialOutcome>();
  const worker = new Worker(new URL("./partial-worker.ts", import.meta.url), { workerData });
  worker.once("message", (report: PartialReport) => {
    if ("outcome" in report) resolve(report.outcome);
    else reject(new Fault(report.code, report.message));
  });
  worker.once("error", (cause: Error) => {
    reject(new Fault("internal", `a partial failed: ${cause.message}`, { cause }));
  });
  worker.once("exit", (code) => {
    reject(new Fault("internal", `a summing thread ended with code ${code}`));
  });
  return promise;
}
