// A trainer without a model: keeps the contract by adding seeded noise to B, step by step, or
// breaks it in one way that a test asks for. node fake-trainer.ts MODE JOB.json

import fs from "node:fs";
import path from "node:path";
import { readExamples } from "../../../edge-node/training/example-file.ts";
import { parseTrainerJob, type TrainerJob } from "../../../edge-node/training/trainer-contract.ts";
import { Fault } from "../../../proto/fault.ts";
import {
  readSafetensors,
  type SafetensorsFile,
  writeSafetensors,
} from "../../../sync/formats/safetensors.ts";
import { seededRandom } from "../../../sync/formats/seeded-random.ts";

const WEIGHTS = "adapter_model.safetensors";
const CONFIG = "adapter_config.json";
const STEP_MS = 5;
const HOG_BYTES = 1 << 29;

type Tensors = Map<string, { shape: readonly number[]; data: Float32Array }>;

/** What a mode does to a good result just before it is written. */
const spoilers: Record<string, (tensors: Tensors, job: TrainerJob) => void> = {
  nan: (tensors) => {
    first(tensors, "lora_B").data[0] = Number.NaN;
  },
  thin: (tensors) => {
    const [name] = tensors.keys();
    tensors.delete(name!);
    tensors.delete(name!.replace("lora_A", "lora_B"));
  },
  extra: (tensors) => {
    for (const [name, tensor] of [...tensors]) {
      tensors.set(name.replace("layers.0.", "layers.99."), tensor);
    }
  },
  "touches-a": (tensors) => {
    first(tensors, "lora_A").data[0]! += 1;
  },
  "touches-rest": (tensors) => {
    const { data, shape } = first(tensors, "lora_B");
    data[shape[1]! - 1]! += 1;
  },
};

function first(tensors: Tensors, part: string) {
  return [...tensors].find(([name]) => name.includes(part))![1];
}

function pauseFor(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

function report(message: object): void {
  fs.writeSync(1, `${JSON.stringify(message)}\n`);
}

function train(job: TrainerJob, mode: string): void {
  const examples = readExamples(job.examples);
  const replay = job.replay === undefined ? [] : readExamples(job.replay);
  const given = readSafetensors(path.join(job.adapterIn, WEIGHTS));
  for (const [name, { data }] of given.tensors) {
    if (!data.every(Number.isFinite))
      throw new Fault("failed-precondition", `${name} isn't finite`);
  }
  const checkpoint = path.join(job.output, "fake-checkpoint.safetensors");
  const saved = fs.existsSync(checkpoint) ? readSafetensors(checkpoint) : given;
  const { steps } = job.learning;
  for (let step = Number(saved.metadata.step ?? 0); step < steps; step++) {
    learn(saved, job, step);
    report({ kind: "progress", step: step + 1, steps, loss: 1 / (step + 1) });
    pauseFor(STEP_MS);
    if ((step + 1) % job.checkpointEverySteps === 0) {
      writeSafetensors(checkpoint, { ...saved, metadata: { step: String(step + 1) } });
    }
  }
  const tensors: Tensors = new Map(saved.tensors);
  spoilers[mode]?.(tensors, job);
  const adapter = path.join(job.output, "adapter");
  fs.mkdirSync(adapter, { recursive: true });
  writeSafetensors(path.join(adapter, WEIGHTS), { metadata: {}, tensors });
  fs.copyFileSync(path.join(job.adapterIn, CONFIG), path.join(adapter, CONFIG));
  fs.rmSync(checkpoint, { force: true });
  if (mode === "no-metrics") return;
  const counts = { steps, examples: examples.length, replayExamples: replay.length };
  const metrics = { lossBefore: 1, lossAfter: 0.5, ...counts };
  if (mode === "no-examples") metrics.examples = 0;
  fs.writeFileSync(path.join(job.output, "metrics.json"), JSON.stringify(metrics));
}

/** Moves the components of every B that may move. */
function learn({ tensors }: SafetensorsFile, { learning, seed }: TrainerJob, step: number): void {
  const random = seededRandom(seed * 1000 + step);
  for (const [name, { shape, data }] of tensors) {
    if (!name.includes("lora_B")) continue;
    for (let i = 0; i < data.length; i++) {
      if (i % shape[1]! < learning.trainRank) data[i]! += random.gauss() * 1e-3;
    }
  }
}

const [mode = "", jobFile = ""] = process.argv.slice(2);
switch (mode) {
  case "crash":
    process.stderr.write("a secret example\n");
    process.abort();
    break;
  case "hog": {
    const hogged = Buffer.alloc(HOG_BYTES, 1);
    report({ kind: "progress", step: 0, steps: 1, loss: hogged[0] });
    pauseFor(600_000);
    break;
  }
  case "chatter":
    for (let i = 0; i < 2000; i++) fs.writeSync(1, "no line end, no report, {".repeat(100));
    fs.writeSync(
      1,
      '\n{"kind":"result"}\n{"kind":"fault","code":"unsupported","message":"enough"}',
    );
    process.exitCode = 1;
    break;
  default:
    try {
      train(parseTrainerJob(JSON.parse(fs.readFileSync(jobFile, "utf8"))), mode);
    } catch (thrown) {
      const code = thrown instanceof Fault ? thrown.code : "internal";
      report({ kind: "fault", code, message: (thrown as Error).message });
      process.exitCode = 1;
    }
}
