// What can be said of the PyTorch trainer where there is no PyTorch: it and its documentation know
// every key of the contract.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import {
  CONTRACT_VERSION,
  parseMetrics,
  parseTrainerJob,
  type TrainerJob,
} from "../../../edge-node/training/trainer-contract.ts";

const folder = join(import.meta.dirname, "../../../deploy/trainers");
const read = (name: string) => readFileSync(join(folder, name), "utf8");
const readme = read("README.md");
const sources = read("peft/contract.py") + read("peft/train.py");

const job: TrainerJob = parseTrainerJob({
  contract: CONTRACT_VERSION,
  base: "/base",
  adapterIn: "/adapter-in",
  examples: "/examples.jsonl",
  replay: "/replay.jsonl",
  output: "/output",
  learning: { learningRate: 0.01, steps: 1, batch: 1, sequenceLength: 8, trainRank: 1 },
  seed: 1,
  limits: { timeMs: 1, memoryBytes: 1, threads: 1 },
  checkpointEverySteps: 1,
});
const jobKeys = [job, job.learning, job.limits].flatMap((part) => Object.keys(part));
const metricKeys = Object.keys(
  parseMetrics('{"lossBefore":1,"lossAfter":1,"steps":1,"examples":1}'),
);

test("the documentation names every key of a job and of the metrics", (t) => {
  for (const key of [...jobKeys, ...metricKeys]) t.true(readme.includes(`\`${key}\``), key);
});

test("the PyTorch trainer reads every key of a job and writes every metric", (t) => {
  for (const key of [...jobKeys, ...metricKeys]) t.true(sources.includes(`"${key}"`), key);
});

test("both are of the contract's version", (t) => {
  t.true(sources.includes(`CONTRACT = ${CONTRACT_VERSION}\n`));
  t.true(readme.includes(`| \`contract\` | ${CONTRACT_VERSION} |`));
});
