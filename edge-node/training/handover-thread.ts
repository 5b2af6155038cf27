// Hands adapters over in a thread of its own: they may be large, and an edge that serves has no
// time to read and check them between two tokens.

import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { Fault, type FaultCode } from "../../proto/fault.ts";
import type { Handover } from "./adapter-handover.ts";
import type { CompleteTrainingJob } from "./training-job.ts";

export interface HandoverTask {
  readonly kind: "hand-over" | "take-back";
  readonly job: CompleteTrainingJob;
}

export type HandoverAnswer =
  | { readonly done: Handover | string }
  | { readonly fault: { readonly code: FaultCode; readonly message: string } };

/** `handOver` of adapter-handover.ts. */
export async function handOverAside(job: CompleteTrainingJob): Promise<Handover> {
  return (await inThread({ kind: "hand-over", job })) as Handover;
}

/** `takeBack` of adapter-handover.ts. */
export async function takeBackAside(job: CompleteTrainingJob): Promise<string> {
  return (await inThread({ kind: "take-back", job })) as string;
}

async function inThread(workerData: HandoverTask): Promise<Handover | string> {
  const worker = new Worker(new URL("./handover-worker.ts", import.meta.url), { workerData });
  try {
    const [answer] = (await once(worker, "message")) as [HandoverAnswer];
    if ("fault" in answer) throw new Fault(answer.fault.code, answer.fault.message);
    return answer.done;
  } finally {
    await worker.terminate();
  }
}
