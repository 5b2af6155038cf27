// Builds the demo model's committed files: `npm run model:build`. Stop and start it at will.

import fs from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { requantizeGguf } from "../../sync/formats/requantize.ts";
import { TensorType } from "../../sync/formats/tensor-type.ts";
import { type PretrainingProgress, pretrain } from "./pretraining.ts";

const HERE = import.meta.dirname;
const PROGRESS_EVERY_STEPS = 25;

const { values } = parseArgs({
  options: {
    steps: { type: "string", default: "1200" },
    threads: { type: "string", default: "1" },
    "learning-rate": { type: "string", default: "2e-3" },
    "home-share": { type: "string", default: "0.45" },
    work: { type: "string", default: path.join(HERE, "../../.cache/demo-model") },
    out: { type: "string", default: HERE },
  },
});

const started = performance.now();
let first: number | undefined;
const master = pretrain({
  folder: values.work,
  steps: Number(values.steps),
  threads: Number(values.threads),
  learningRate: Number(values["learning-rate"]),
  homeShare: Number(values["home-share"]),
  onProgress: (progress) => {
    first ??= progress.step - 1;
    if (progress.step % PROGRESS_EVERY_STEPS === 0) console.log(describe(progress, first));
  },
});

for (const name of ["f16", "q8_0", "q4_0"] as const) {
  const target = path.join(values.out, `commands-${name}.gguf`);
  requantizeGguf(master, target, TensorType[name]);
  console.log(`${path.relative(".", target)}  ${fs.statSync(target).size} bytes`);
}

function describe({ step, steps, loss }: PretrainingProgress, from: number): string {
  const minutes = (performance.now() - started) / 60_000;
  const left = (minutes / (step - from)) * (steps - step);
  return `step ${step}/${steps}  loss ${loss.toFixed(4)}  ${left.toFixed(1)} minutes left`;
}
