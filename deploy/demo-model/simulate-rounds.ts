// Federated rounds without a mesh: six edges with three dialects train on the frozen base, their
// adapters are averaged, and the served combination is measured. For finding training parameters:
// node deploy/demo-model/simulate-rounds.ts --rounds 10 --steps 40 --learning-rate 4e-3
//
// In the output, `home` is the base's own domain, which must stay; the others start near 0.

import fs from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { runTraining } from "../../edge-node/training/run-training.ts";
import { writeGgufAdapter } from "../../sync/formats/gguf-adapter.ts";
import {
  decodeAdapterState,
  encodeAdapterState,
  type LoraAdapter,
  type LoraModule,
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
    "server-rate": { type: "string", default: "1" },
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

/** Linear from 1 in the first round to the last round's share. */
function roundShare(round: number): number {
  const last = Number(values["last-round-share"]);
  return 1 - (1 - last) * (round / Math.max(1, rounds - 1));
}

async function trainEdge(
  { dialect, index }: { dialect: DialectName; index: number },
  round: number,
  start: string | undefined,
) {
  const outputFolder = fileOf(`${dialect}-${index}`);
  const job = {
    base: values.base,
    ...(start === undefined ? {} : { adapterState: start }),
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
    adapterSeed: 1,
    dataSeed: round * 100 + index,
    timeLimitMs: 600_000,
  };
  const { adapterState, metrics } = await runTraining(job);
  return { metrics, adapter: decodeAdapterState(fs.readFileSync(adapterState), adapterState) };
}

/**
 * start + rate · (mean of all results − start), of A and B apart; every edge weighs the same.
 */
function merge(
  adapters: readonly LoraAdapter[],
  start: LoraAdapter | undefined,
  rate: number,
): LoraAdapter {
  const [first] = adapters as [LoraAdapter];
  const mean = (weight: string, factor: "a" | "b") => {
    const parts = adapters.map(({ modules }) => (modules.get(weight) as LoraModule)[factor]);
    const from = start?.modules.get(weight)?.[factor];
    return (parts[0] as Float32Array).map((_, i) => {
      const average = parts.reduce((sum, part) => sum + (part[i] as number), 0) / parts.length;
      return from ? (from[i] as number) + rate * (average - (from[i] as number)) : average;
    });
  };
  const modules = new Map(
    [...first.modules].map(([weight, module]) => [
      weight,
      { ...module, a: mean(weight, "a"), b: mean(weight, "b") },
    ]),
  );
  return { ...first, modules };
}

writeData();
const llama = await openEngineLibrary();
const count = Number(values.evaluate);
const sets = {
  home: makeHomeHeldOut(count),
  media: makeDialectHeldOut("media", count),
  appliance: makeDialectHeldOut("appliance", count),
  garden: makeDialectHeldOut("garden", count),
};
const describe = (shares: Record<string, number>) =>
  Object.entries(shares)
    .map(([set, share]) => `${set} ${share.toFixed(3)}`)
    .join("  ");
console.log(`base      ${describe(await exactMatch(llama, { modelPath: values.base }, sets))}`);
let start: string | undefined;
let global: LoraAdapter | undefined;
for (let round = 0; round < rounds; round++) {
  const results = [];
  for (const edge of edges) results.push(await trainEdge(edge, round, start));
  const merged = merge(
    results.map(({ adapter }) => adapter),
    global,
    Number(values["server-rate"]),
  );
  global = merged;
  start = fileOf("global.safetensors");
  fs.writeFileSync(start, encodeAdapterState(merged));
  const adapterPath = fileOf("global.gguf");
  writeGgufAdapter(adapterPath, merged);
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
