// A trainer that trains as the built-in one does, and lays what came of it where a test looks for
// it; on the edge that the file `stuck` names it never comes to an end.
// node kept-trainer.ts FOLDER JOB.json
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { BUILT_IN_TRAINER } from "../../edge-node/training/run-training.ts";
import { ADAPTER_FOLDER, type TrainerJob } from "../../edge-node/training/trainer-contract.ts";
import { PEFT_WEIGHTS_FILE } from "../../sync/formats/peft-adapter.ts";
import { readSafetensors } from "../../sync/formats/safetensors.ts";

/** What an edge learned in a round, which nobody else may know. */
export interface KeptTraining {
  /** Tensors before and after, by name. */
  readonly pairs: readonly (readonly [start: Float32Array, result: Float32Array])[];
}

/** The file whose text is the name of the edge that never ends. */
export function stuckFile(folder: string): string {
  return join(folder, "stuck");
}

/** Requires that the edge's trainer has ended in that round. */
export function keptTraining(folder: string, edge: string, round: string): KeptTraining {
  const at = join(folder, `${edge}.${round}`);
  const start = readSafetensors(join(at, "start", PEFT_WEIGHTS_FILE)).tensors;
  const result = readSafetensors(join(at, "result", PEFT_WEIGHTS_FILE)).tensors;
  const pairs = [...result].map(([name, { data }]) => {
    return [start.get(name)!.data as Float32Array, data as Float32Array] as const;
  });
  return { pairs };
}

if (import.meta.main) {
  const [folder = "", jobFile = ""] = process.argv.slice(2);
  const job = JSON.parse(readFileSync(jobFile, "utf8")) as TrainerJob;
  // <edge>/learning/jobs/<campaign>.<round>/work
  const [edge = "", , , round = ""] = job.output.split("/").slice(-5);
  const stuck = stuckFile(folder);
  if (existsSync(stuck) && readFileSync(stuck, "utf8") === edge) {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT)), 0, 0);
  }
  const [program = "", ...words] = BUILT_IN_TRAINER;
  const { status } = spawnSync(program, [...words, jobFile], { stdio: "inherit" });
  if (status !== 0) process.exit(status ?? 1);
  const at = join(folder, `${edge}.${round}`);
  cpSync(job.adapterIn, join(at, "start"), { recursive: true });
  cpSync(join(job.output, ADAPTER_FOLDER), join(at, "result"), { recursive: true });
}
