// The built-in trainer, as a command: it speaks the contract that any trainer speaks. A wrong
// tensor ends ggml's process; here that hurts nobody.

import fs from "node:fs";
import { Fault } from "../../proto/fault.ts";
import { systemClock } from "../../runtime/clock.ts";
import { trainLora } from "./lora-training.ts";
import { parseTrainerJob, type TrainingReport } from "./trainer-contract.ts";

const USAGE = `usage: node edge-node/training/main.ts JOB.json

Trains a LoRA adapter on a llama-architecture GGUF model, on the CPU, by ggml.

JOB.json names base, adapterIn (a PEFT folder), examples and replay (JSONL of "prompt" and
"completion"), output, learning, seed, limits and checkpointEverySteps. The result is a PEFT folder,
OUTPUT/adapter, and then OUTPUT/metrics.json. Standard output carries one JSON object a line:
{"kind":"progress","step","steps","loss"} and, before a failed end,
{"kind":"fault","code","message"}.
The same job started again goes on from its last checkpoint, to the same bytes.
deploy/trainers/README.md has the whole contract.
`;
const USAGE_EXIT_CODE = 2;

function report(message: TrainingReport): void {
  // Synchronous, so that no report is lost when the process ends.
  fs.writeSync(process.stdout.fd, `${JSON.stringify(message)}\n`);
}

async function main(jobFile: string): Promise<void> {
  try {
    const job = parseTrainerJob(JSON.parse(fs.readFileSync(jobFile, "utf8")));
    await trainLora(job, systemClock, (progress) => report({ kind: "progress", ...progress }));
  } catch (error) {
    const known = error instanceof Fault;
    const message = error instanceof Error ? error.message : String(error);
    report({ kind: "fault", code: known ? error.code : "internal", message });
    process.exitCode = 1;
  }
}

const [argument] = process.argv.slice(2);
if (argument === "--help") {
  process.stdout.write(USAGE);
} else if (argument === undefined) {
  process.stderr.write(USAGE);
  process.exitCode = USAGE_EXIT_CODE;
} else {
  await main(argument);
  // The engine's library keeps handles open that nobody needs any more.
  process.exit();
}
