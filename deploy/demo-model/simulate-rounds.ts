// Federated rounds without a mesh: six edges with three dialects train on the frozen base, their
// updates are stacked as the coordinator does it, and the served combination is measured. For
// finding training parameters (`--server-rates` takes one a round, the last for all that follow):
// node deploy/demo-model/simulate-rounds.ts --rounds 10 --steps 40 --learning-rate 4e-3
//
// In the output, `home` is the base's own domain, which must stay; the others start near 0. What is
// measured is a validation split: never trained on, and none of it in the sets that proofs use.

import fs from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { runTraining } from "../../edge-node/training/run-training.ts";
import { stackDeltas } from "../../sync/aggregate/lora-stack.ts";
import { mergeStacks } from "../../sync/aggregate/merge-stacks.ts";
import { deltaBetween } from "../../sync/delta/tensor-map.ts";
import { writeGgufAdapter } from "../../sync/formats/gguf-adapter.ts";
import { readGguf } from "../../sync/formats/gguf-reader.ts";
import { initialAdapter } from "../../sync/formats/initial-adapter.ts";
import { LINEAR_MODULES } from "../../sync/formats/linear-modules.ts";
import {
  adapterRank,
  adapterTensors,
  decodeAdapterState,
  encodeAdapterState,
  type LoraAdapter,
  modulesOf,
} from "../../sync/formats/lora-adapter.ts";
import {
  makeDialectHeldOut,
  makeHomeHeldOut,
  makeHomeReplay,
  makePrivateExamples,
  writeExamples,
} from "./datasets.ts";
import { DIALECT_NAMES, type DialectName } from "./dialect-grammar.ts";
import { exactMatch, openEngineLibrary } from "./served-model.ts";

const ADAPTER_SEED = 1;
/** The mesh's gate takes the first 200 of home, and the first 100 of a dialect. */
const PROOF_HELD_OUT = 200;

const { values } = parseArgs({
  options: {
    base: { type: "string", default: path.join(import.meta.dirname, "commands-q8_0.gguf") },
    folder: { type: "string", default: ".cache/rounds" },
    rounds: { type: "string", default: "10" },
    edges: { type: "string", default: "2" },
    examples: { type: "string", default: "300" },
    replay: { type: "string", default: "300" },
    steps: { type: "string", default: "40" },
    batch: { type: "string", default: "16" },
    rank: { type: "string", default: "16" },
    alpha: { type: "string", default: "32" },
    "learning-rate": { type: "string", default: "4e-3" },
    "last-round-share": { type: "string", default: "0.2" },
    "final-share": { type: "string", default: "0.3" },
    "a-share": { type: "string", default: "1" },
    "server-rates": { type: "string", default: "1" },
    proximal: { type: "string", default: "0" },
    "replay-share": { type: "string", default: "0.3" },
    evaluate: { type: "string", default: "60" },
    every: { type: "string", default: "2" },
  },
});
const rounds = Number(values.rounds);
const edges = DIALECT_NAMES.flatMap((dialect) =>
  Array.from({ length: Number(values.edges) }, (_, index) => ({ dialect, index })),
);

function fileOf(name: string): string {
  return path.join(values.folder, name);
}

function writeData(): void {
  for (const { dialect, index } of edges) {
    const examples = makePrivateExamples(dialect, index, Number(values.examples));
    writeExamples(fileOf(`${dialect}-${index}.jsonl`), examples);
  }
  writeExamples(fileOf("replay.jsonl"), makeHomeReplay(Number(values.replay)));
}

/** From 1 in the first round to the last round's share, by the same factor each round. */
function roundShare(round: number): number {
  return Number(values["last-round-share"]) ** (round / Math.max(1, rounds - 1));
}

async function trainEdge(
  { dialect, index }: { dialect: DialectName; index: number },
  round: number,
  start: string,
) {
  const outputFolder = fileOf(`${dialect}-${index}`);
  const job = {
    base: values.base,
    adapterState: start,
    examples: fileOf(`${dialect}-${index}.jsonl`),
    replay: fileOf("replay.jsonl"),
    outputFolder,
    rank: Number(values.rank),
    alpha: Number(values.alpha),
    learningRate: Number(values["learning-rate"]) * roundShare(round),
    finalLearningRateShare: Number(values["final-share"]),
    rateShareOfA: Number(values["a-share"]),
    steps: Number(values.steps),
    batch: Number(values.batch),
    sequenceLength: 64,
    replayShare: Number(values["replay-share"]),
    adapterSeed: ADAPTER_SEED,
    proximal: Number(values.proximal),
    dataSeed: round * 100 + index,
    timeLimitMs: 600_000,
  };
  const { adapterState, metrics } = await runTraining(job);
  return { metrics, adapter: decodeAdapterState(fs.readFileSync(adapterState), adapterState) };
}

/** What a coordinator makes of the results, every edge weighing the same. */
async function merge(
  results: readonly LoraAdapter[],
  start: LoraAdapter,
  round: number,
): Promise<LoraAdapter> {
  const from = adapterTensors(start);
  const parts = results.map((result, i) => ({
    ...{ name: `edge-${i}`, weight: 1, factor: 1 },
    load: () => deltaBetween(from, adapterTensors(result)),
  }));
  const scale = start.alpha / adapterRank(start);
  const stack = await stackDeltas(from, scale, parts);
  const partial = {
    ...{ region: "all", weight: parts.length, contributors: parts.map(({ name }) => name) },
    load: () => stack,
  };
  const rates = values["server-rates"].split(",").map(Number);
  const rate = rates[Math.min(round, rates.length - 1)] ?? 1;
  const options = { scale, rate, order: "largest-first", threadsMax: 1 } as const;
  const { tensors } = await mergeStacks(from, [partial], options);
  return { ...start, modules: modulesOf(tensors, "the merge") };
}

/** Held-out commands that aren't among the first ones, which proofs are judged by. */
function validationSets(count: number) {
  const of = (name: DialectName) => makeDialectHeldOut(name, PROOF_HELD_OUT + count);
  const home = makeHomeHeldOut(PROOF_HELD_OUT + count);
  const sets = { home, media: of("media"), appliance: of("appliance"), garden: of("garden") };
  return Object.fromEntries(
    Object.entries(sets).map(([name, examples]) => [name, examples.slice(PROOF_HELD_OUT)]),
  );
}

writeData();
const llama = await openEngineLibrary();
const sets = validationSets(Number(values.evaluate));
const describe = (shares: Record<string, number>) =>
  Object.entries(shares)
    .map(([set, share]) => `${set} ${share.toFixed(3)}`)
    .join("  ");
console.log(`base      ${describe(await exactMatch(llama, { modelPath: values.base }, sets))}`);
let global = initialAdapter(readGguf(values.base), {
  ...{ rank: Number(values.rank), alpha: Number(values.alpha) },
  ...{ modules: LINEAR_MODULES, seed: ADAPTER_SEED },
});
const start = fileOf("global.safetensors");
for (let round = 0; round < rounds; round++) {
  const results = [];
  fs.writeFileSync(start, encodeAdapterState(global));
  for (const edge of edges) results.push(await trainEdge(edge, round, start));
  global = await merge(
    results.map(({ adapter }) => adapter),
    global,
    round,
  );
  const adapterPath = fileOf("global.gguf");
  writeGgufAdapter(adapterPath, global);
  const losses = results.map(({ metrics }) => metrics.lossAfter.toFixed(2)).join(" ");
  const seconds = Math.max(...results.map(({ metrics }) => metrics.durationMs)) / 1000;
  const measured =
    (round + 1) % Number(values.every) === 0 || round + 1 === rounds
      ? describe(
          await exactMatch(llama, { modelPath: values.base, adapterPaths: [adapterPath] }, sets),
        )
      : "";
  const number = String(round + 1).padStart(2);
  console.log(`round ${number}  ${measured}  local losses ${losses}  ${seconds.toFixed(1)} s`);
}
await llama.dispose();
