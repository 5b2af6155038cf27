// A thread that merges adapters into a model, away from the event loop.
import { workerData } from "node:worker_threads";
import type { QuantizedType } from "../../sync/formats/block-quantization.ts";
import { type MergeAdapter, mergeLora } from "../../sync/formats/lora-merge.ts";

export interface MergeWorkerData {
  readonly master: string;
  readonly adapters: readonly MergeAdapter[];
  readonly target: string;
  readonly type: QuantizedType;
}

const { master, adapters, target, type } = workerData as MergeWorkerData;
mergeLora(master, adapters, target, type);
