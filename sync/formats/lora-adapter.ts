// A LoRA adapter in memory, in GGUF's terms: what is trained, sent, merged and written to files.

import { Fault } from "../../proto/fault.ts";
import type { SafeTensor, SafetensorsFile } from "./safetensors.ts";
import { decodeSafetensors, encodeSafetensors } from "./safetensors.ts";

/** The low-rank pair of one weight matrix: its change is scale · B·A. */
export interface LoraModule {
  readonly rank: number;
  /** The matrix's row length (its inputs). */
  readonly inputs: number;
  /** The matrix's rows (its outputs). */
  readonly outputs: number;
  /** [rank, inputs], row-major. */
  readonly a: Float32Array;
  /** [outputs, rank], row-major; the rows stand in GGUF's order. */
  readonly b: Float32Array;
}

/** Pairs by the GGUF name of their weight, e.g. "blk.0.attn_q.weight". Scale = alpha / rank. */
export interface LoraAdapter {
  readonly architecture: string;
  readonly alpha: number;
  readonly modules: ReadonlyMap<string, LoraModule>;
}

const SUFFIX_A = ".lora_a";
const SUFFIX_B = ".lora_b";

/**
 * The adapter's trainer state: safetensors with `<weight>.lora_a` [rank, inputs] and
 * `<weight>.lora_b` [outputs, rank]; metadata `architecture` and `alpha`. Rows keep GGUF's order,
 * so that nothing is permuted between training, merging and serving.
 */
export function encodeAdapterState(adapter: LoraAdapter): Uint8Array {
  return encodeSafetensors({
    metadata: { architecture: adapter.architecture, alpha: String(adapter.alpha) },
    tensors: adapterTensors(adapter),
  });
}

/** Reads a trainer state. Faults: invalid-argument, when it isn't one. */
export function decodeAdapterState(bytes: Buffer, source: string): LoraAdapter {
  const { metadata, tensors } = decodeSafetensors(bytes, source);
  const alpha = Number(metadata.alpha);
  const architecture = metadata.architecture;
  if (!architecture || !Number.isFinite(alpha)) {
    throw new Fault("invalid-argument", `${source}: no architecture or alpha in its metadata`);
  }
  return { architecture, alpha, modules: modulesOf(tensors, source) };
}

/** The adapter's tensors by name, A before B. */
export function adapterTensors(adapter: LoraAdapter): Map<string, SafeTensor> {
  const tensors = new Map<string, SafeTensor>();
  for (const [weight, { rank, inputs, outputs, a, b }] of adapter.modules) {
    tensors.set(weight + SUFFIX_A, { shape: [rank, inputs], data: a });
    tensors.set(weight + SUFFIX_B, { shape: [outputs, rank], data: b });
  }
  return tensors;
}

/** Pairs tensors up again. Faults: invalid-argument, for one without its partner or misshapen. */
export function modulesOf(
  tensors: SafetensorsFile["tensors"],
  source: string,
): Map<string, LoraModule> {
  const modules = new Map<string, LoraModule>();
  for (const [name, a] of tensors) {
    if (name.endsWith(SUFFIX_B) && tensors.has(name.slice(0, -1 * SUFFIX_B.length) + SUFFIX_A)) {
      continue;
    }
    if (!name.endsWith(SUFFIX_A)) throw unpaired(source, name);
    const weight = name.slice(0, -1 * SUFFIX_A.length);
    const b = tensors.get(weight + SUFFIX_B);
    if (!b) throw unpaired(source, name);
    const [rank = 0, inputs = 0] = a.shape;
    const [outputs = 0, rankOfB = 0] = b.shape;
    const twoDimensional = a.shape.length === 2 && b.shape.length === 2;
    if (!twoDimensional || rank !== rankOfB || rank < 1) {
      throw new Fault(
        "invalid-argument",
        `${source}: ${weight} has A ${a.shape.join("×")} and B ${b.shape.join("×")}`,
      );
    }
    modules.set(weight, { rank, inputs, outputs, a: a.data, b: b.data });
  }
  return modules;
}

/** The largest rank of any module; 0 for an empty adapter. */
export function adapterRank(adapter: LoraAdapter): number {
  return Math.max(0, ...[...adapter.modules.values()].map(({ rank }) => rank));
}

/** Refuses numbers that aren't finite, which the engine would serve. Faults: invalid-argument. */
export function requireFinite(adapter: LoraAdapter): void {
  for (const [name, { data }] of adapterTensors(adapter)) {
    if (!data.every(Number.isFinite)) {
      throw new Fault("invalid-argument", `${name} holds a number that isn't finite`);
    }
  }
}

function unpaired(source: string, name: string): Fault {
  return new Fault("invalid-argument", `${source}: tensor ${name} has no lora_a/lora_b partner`);
}
