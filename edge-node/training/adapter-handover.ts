// Hands an adapter to a trainer and takes the result back: trainer state on the edge's side, PEFT
// folders on the trainer's. Nothing that a trainer made is believed before it was checked.

import fs from "node:fs";
import path from "node:path";
import { Fault } from "../../proto/fault.ts";
import { firstComponents } from "../../sync/delta/rank-slice.ts";
import { metadataNumber, metadataString } from "../../sync/formats/gguf-metadata.ts";
import { type GgufFile, readGguf } from "../../sync/formats/gguf-reader.ts";
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
  type AttentionHeads,
  readPeftAdapter,
  writePeftAdapter,
} from "../../sync/formats/peft-adapter.ts";
import { ADAPTER_FOLDER } from "./trainer-contract.ts";
import type { CompleteTrainingJob } from "./training-job.ts";

/** The one family whose tensor names and row order both sides agree on. */
const ARCHITECTURE = "llama";
const IN_FOLDER = "adapter-in";
const STATE_FILE = "adapter-state.safetensors";
const ALPHA_TOLERANCE = 1e-6;

/** What a trainer begins with. */
export interface Handover {
  /** The PEFT folder that it reads. */
  readonly adapterIn: string;
  /** How many of the first components this edge trains. */
  readonly trainRank: number;
}

/**
 * Checks base and start, and writes the folder that the trainer goes on from.
 * Faults: invalid-argument, unsupported (base), failed-precondition (start).
 */
export function handOver(job: CompleteTrainingJob): Handover {
  const { start, heads } = startOf(job);
  const adapterIn = path.join(job.outputFolder, IN_FOLDER);
  writePeftAdapter(adapterIn, start, heads);
  return { adapterIn, trainRank: trainRankOf(job) };
}

/**
 * Reads what the trainer left, checks it against what it was given, and writes the trainer state
 * of the components that were trained; returns its path. Faults: failed-precondition.
 */
export function takeBack(job: CompleteTrainingJob): string {
  const { start, heads } = startOf(job);
  const trainRank = trainRankOf(job);
  const folder = path.join(job.outputFolder, ADAPTER_FOLDER);
  const result = readResult(folder, heads);
  if (Math.abs(result.alpha - start.alpha) > ALPHA_TOLERANCE * start.alpha) {
    throw badResult(`alpha ${result.alpha} instead of ${start.alpha}`);
  }
  const found = adapterTensors(result);
  const expected = adapterTensors(start);
  for (const [name, { shape }] of expected) {
    const other = found.get(name)?.shape.join("×");
    const wanted = shape.join("×");
    if (other !== wanted) throw badResult(`${name} is ${other ?? "absent"} instead of ${wanted}`);
  }
  for (const name of found.keys()) {
    if (!expected.has(name)) throw badResult(`${name} wasn't to be trained`);
  }
  requireNumbers(result, "the trainer's adapter");
  requireUntouched(start, result, trainRank, job.freezeA);
  const state = path.join(job.outputFolder, STATE_FILE);
  // In the start's order and with its alpha, so that equal numbers give equal bytes.
  const ordered = [...start.modules.keys()].map(
    (name) => [name, result.modules.get(name)!] as const,
  );
  const trained = trainedPart({ ...start, modules: new Map(ordered) }, job.rank, trainRank);
  fs.writeFileSync(`${state}.part`, encodeAdapterState(trained), { flush: true });
  fs.renameSync(`${state}.part`, state);
  return state;
}

/** The first components, with the alpha that keeps alpha / rank what it is. */
function trainedPart(adapter: LoraAdapter, rank: number, trainRank: number): LoraAdapter {
  if (trainRank === rank) return adapter;
  const tensors = firstComponents(adapterTensors(adapter), trainRank);
  const alpha = (adapter.alpha * trainRank) / rank;
  return { ...adapter, alpha, modules: modulesOf(tensors, "the trained part") };
}

function startOf(job: CompleteTrainingJob): { start: LoraAdapter; heads: AttentionHeads } {
  const base = openBase(job.base);
  const start = job.adapterState === undefined ? fresh(base, job) : known(job.adapterState, job);
  requireFits(start, base);
  requireNumbers(start, "the adapter to go on from");
  return { start, heads: headsOf(base) };
}

function trainRankOf({ rank, rankMax = rank }: CompleteTrainingJob): number {
  return Math.min(rank, rankMax);
}

function openBase(file: string): GgufFile {
  if (!fs.existsSync(file)) throw new Fault("invalid-argument", `${file} doesn't exist`);
  const base = readGguf(file);
  const architecture = metadataString(base.metadata, "general.architecture");
  if (architecture !== ARCHITECTURE) {
    throw new Fault(
      "unsupported",
      `architecture ${architecture ?? "(none)"}: only ${ARCHITECTURE} models can be trained`,
    );
  }
  return base;
}

function headsOf({ metadata, path: file }: GgufFile): AttentionHeads {
  const heads = metadataNumber(metadata, `${ARCHITECTURE}.attention.head_count`) ?? 0;
  const kvHeads = metadataNumber(metadata, `${ARCHITECTURE}.attention.head_count_kv`) ?? heads;
  if (!(heads >= 1 && kvHeads >= 1)) {
    throw new Fault("unsupported", `${file}: ${heads} attention heads, ${kvHeads} key-value heads`);
  }
  return { heads, kvHeads };
}

function fresh(base: GgufFile, job: CompleteTrainingJob): LoraAdapter {
  const modules = job.modules.length > 0 ? job.modules : LINEAR_MODULES;
  return initialAdapter(base, { ...job, modules, seed: job.adapterSeed });
}

function known(file: string, { rank, alpha }: CompleteTrainingJob): LoraAdapter {
  if (!fs.existsSync(file)) throw new Fault("failed-precondition", `${file} doesn't exist`);
  const adapter = decodeAdapterState(fs.readFileSync(file), file);
  const isAlpha = Math.abs(adapter.alpha - alpha) <= ALPHA_TOLERANCE * alpha;
  if (adapterRank(adapter) !== rank || !isAlpha) {
    throw new Fault(
      "failed-precondition",
      `the adapter has rank ${adapterRank(adapter)} and alpha ${adapter.alpha}; ` +
        `the job wants ${rank} and ${alpha}`,
    );
  }
  return adapter;
}

function requireFits(adapter: LoraAdapter, base: GgufFile): void {
  if (adapter.modules.size === 0) {
    throw new Fault("failed-precondition", "the adapter to go on from has no modules");
  }
  for (const [weight, { inputs, outputs }] of adapter.modules) {
    const found = base.tensors.get(weight)?.dimensions.join("×") ?? "absent";
    if (found !== `${inputs}×${outputs}`) {
      throw new Fault(
        "failed-precondition",
        `the adapter changes ${weight} of ${inputs}×${outputs}; in the base it is ${found}`,
      );
    }
  }
}

function requireNumbers(adapter: LoraAdapter, what: string): void {
  for (const [name, { data }] of adapterTensors(adapter)) {
    if (!data.every(Number.isFinite)) {
      throw new Fault("failed-precondition", `${what}: ${name} holds a number that isn't finite`);
    }
  }
}

function readResult(folder: string, heads: AttentionHeads): LoraAdapter {
  try {
    return readPeftAdapter(folder, heads);
  } catch (cause) {
    const why = cause instanceof Fault ? cause.message : "its files are missing";
    throw new Fault("failed-precondition", `the trainer's adapter can't be read: ${why}`, {
      cause,
    });
  }
}

/** Components beyond the trained ones, and a frozen A, must come out as they went in. */
function requireUntouched(
  start: LoraAdapter,
  result: LoraAdapter,
  trainRank: number,
  freezesA: boolean,
): void {
  for (const [weight, { rank, inputs, a, b }] of start.modules) {
    const found = result.modules.get(weight)!;
    const rowsFree = freezesA ? 0 : trainRank;
    const sameA = a.every((value, i) => i < rowsFree * inputs || value === found.a[i]);
    const sameB = b.every((value, i) => i % rank < trainRank || value === found.b[i]);
    if (!sameA || !sameB) {
      const factor = sameA ? "B" : "A";
      throw badResult(`${factor} of ${weight} changed where it was to stay as it was`);
    }
  }
}

function badResult(what: string): Fault {
  return new Fault("failed-precondition", `the trainer's adapter doesn't fit: ${what}`);
}
