// The thread of handover-thread.ts: does one task and says how it went.

import { parentPort, workerData } from "node:worker_threads";
import { asFault } from "../../proto/fault.ts";
import { handOver, takeBack } from "./adapter-handover.ts";
import type { HandoverAnswer, HandoverTask } from "./handover-thread.ts";

function answer({ kind, job }: HandoverTask): HandoverAnswer {
  try {
    return { done: kind === "hand-over" ? handOver(job) : takeBack(job) };
  } catch (thrown) {
    const { code, message } = asFault(thrown);
    return { fault: { code, message } };
  }
}

parentPort?.postMessage(answer(workerData as HandoverTask));
