// Makes LoRA adapters part of a model's weights: W + scale · alpha/rank · B·A, from the
// full-precision master, since what is merged into a quantized file compounds its error.
import { Fault } from "../../proto/fault.ts";
import type { QuantizedType } from "./block-quantization.ts";
import { readGgufAdapter } from "./gguf-adapter.ts";
import { metadataString } from "./gguf-metadata.ts";
import { type GgufFile, readGguf } from "./gguf-reader.ts";
import type { LoraModule } from "./lora-adapter.ts";
import { requantizeGguf } from "./requantize.ts";
import { TensorType } from "./tensor-type.ts";

/** An adapter's GGUF file, and how much of it counts. */
export interface MergeAdapter {
  readonly path: string;
  readonly scale: number;
}

const FULL_PRECISION: readonly number[] = [TensorType.f32, TensorType.f16, TensorType.bf16];

/**
 * Writes the merged model in the wanted type.
 * Faults: `invalid-argument` for a master that is quantized itself, an adapter of another
 * architecture, or one that doesn't fit the master's matrices.
 */
export function mergeLora(
  master: string,
  adapters: readonly MergeAdapter[],
  target: string,
  type: QuantizedType,
): void {
  const file = readGguf(master);
  requireFullPrecision(file, master);
  const architecture = metadataString(file.metadata, "general.architecture");
  const changes = new Map<string, (weights: Float32Array) => void>();
  for (const { path, scale } of adapters) {
    const adapter = readGgufAdapter(path);
    if (adapter.architecture !== architecture) {
      const message = `an adapter for ${adapter.architecture} on a model of ${architecture}`;
      throw new Fault("invalid-argument", message);
    }
    for (const [name, module] of adapter.modules) {
      requireFit(file, name, module);
      // llama.cpp takes alpha 0 as scale 1.
      const own = adapter.alpha === 0 ? 1 : adapter.alpha / module.rank;
      const before = changes.get(name);
      changes.set(name, (weights) => {
        before?.(weights);
        addProduct(weights, module, scale * own);
      });
    }
  }
  requantizeGguf(master, target, type, changes);
}

/** W += factor · B·A, W being [outputs, inputs] row by row. */
export function addProduct(weights: Float32Array, module: LoraModule, factor: number): void {
  const { rank, inputs, outputs, a, b } = module;
  const row = new Float64Array(inputs);
  for (let output = 0; output < outputs; output += 1) {
    row.fill(0);
    for (let r = 0; r < rank; r += 1) {
      const weight = factor * b[output * rank + r]!;
      if (weight === 0) continue;
      const from = r * inputs;
      for (let i = 0; i < inputs; i += 1) row[i] = row[i]! + weight * a[from + i]!;
    }
    const at = output * inputs;
    for (let i = 0; i < inputs; i += 1) weights[at + i] = weights[at + i]! + row[i]!;
  }
}

function requireFullPrecision(file: GgufFile, path: string): void {
  for (const { name, type, dimensions } of file.tensors.values()) {
    if (dimensions.length < 2 || FULL_PRECISION.includes(type)) continue;
    throw new Fault("invalid-argument", `${path}: ${name} is quantized; merge into the master`);
  }
}

function requireFit(file: GgufFile, name: string, { inputs, outputs }: LoraModule): void {
  const [rows = 0, columns = 0] = file.tensors.get(name)?.dimensions.toReversed() ?? [];
  if (rows === outputs && columns === inputs) return;
  const found = `the model has ${rows}×${columns}, the adapter ${outputs}×${inputs}`;
  throw new Fault("invalid-argument", `${name}: ${found}`);
}
