// A thread that makes a region's partial, and tells what came of it.
import { parentPort, workerData } from "node:worker_threads";
import { asFault, type FaultCode } from "../../proto/fault.ts";
import { doPartialJob, type PartialJob, type PartialOutcome } from "./partial-job.ts";

/** Faults lose their class on the way between threads. */
export type PartialReport =
  | { readonly outcome: PartialOutcome }
  | { readonly code: FaultCode; readonly message: string };

async function report(): Promise<PartialReport> {
  try {
    return { outcome: await doPartialJob(workerData as PartialJob) };
  } catch (thrown) {
    const { code, message } = asFault(thrown);
    return { code, message };
  }
}

parentPort?.postMessage(await report());
