// The reference for federated rounds on the demo model: one adapter trained in one place on what
// all edges of the local mesh hold together, and the held-out sets that both are measured on.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { runTraining } from "../../edge-node/training/run-training.ts";
import { decodeAdapterState, type LoraAdapter } from "../../sync/formats/lora-adapter.ts";
import type { CommandExample } from "./command-grammar.ts";
import {
  makeDialectHeldOut,
  makeHomeHeldOut,
  makeHomeReplay,
  makePrivateExamples,
  writeExamples,
} from "./datasets.ts";
import { DIALECT_NAMES, type DialectName } from "./dialect-grammar.ts";

/** As the edges of the local mesh hold them. */
const EDGES_PER_DIALECT = 2;
const EXAMPLES_PER_EDGE = 300;
const HELD_OUT = 100;
const TIME_LIMIT_MS = 3_600_000;

export type CommandSets = Record<"home" | DialectName, readonly CommandExample[]>;

/** Nothing of it is ever trained on. */
export function heldOutSets(): CommandSets {
  const of = (name: DialectName) => makeDialectHeldOut(name, HELD_OUT);
  const home = makeHomeHeldOut(HELD_OUT);
  return { home, media: of("media"), appliance: of("appliance"), garden: of("garden") };
}

/** Trains on the union of all private examples, with replay as the edges have it. */
export async function centralAdapter(options: {
  readonly base: string;
  readonly folder: string;
  readonly steps: number;
}): Promise<LoraAdapter> {
  const { base, folder, steps } = options;
  const examples = join(folder, "all.jsonl");
  const replay = join(folder, "replay.jsonl");
  const all = DIALECT_NAMES.flatMap((dialect) =>
    Array.from({ length: EDGES_PER_DIALECT }, (_, edge) =>
      makePrivateExamples(dialect, edge, EXAMPLES_PER_EDGE),
    ).flat(),
  );
  writeExamples(examples, all);
  writeExamples(replay, makeHomeReplay(1_000));
  const { adapterState } = await runTraining({
    ...{ base, examples, replay, outputFolder: join(folder, "central") },
    ...{ rank: 16, alpha: 32, learningRate: 2e-3, steps, batch: 8, sequenceLength: 64 },
    ...{ replayShare: 0.3, adapterSeed: 1, dataSeed: 1, timeLimitMs: TIME_LIMIT_MS },
  });
  return decodeAdapterState(readFileSync(adapterState), adapterState);
}
