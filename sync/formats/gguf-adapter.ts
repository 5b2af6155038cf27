// GGUF LoRA adapters: what llama.cpp loads beside a base model.

import { Fault } from "../../proto/fault.ts";
import { dequantize } from "./block-quantization.ts";
import {
  type GgufValue,
  ggufFloat32,
  ggufString,
  metadataNumber,
  metadataString,
} from "./gguf-metadata.ts";
import { readGguf, readTensorBytes } from "./gguf-reader.ts";
import { writeGguf } from "./gguf-writer.ts";
import {
  adapterRank,
  adapterTensors,
  type LoraAdapter,
  modulesOf,
  requireFinite,
} from "./lora-adapter.ts";
import type { SafeTensor } from "./safetensors.ts";
import { TensorType } from "./tensor-type.ts";

/** Words for people who look into the file. */
export interface AdapterDescription {
  readonly name?: string;
  readonly version?: string;
}

/**
 * Writes an adapter as f32 GGUF. llama.cpp scales it by alpha / rank, for each pair's own rank, and
 * refuses another architecture, an unknown tensor or a wrong shape; it takes numbers that aren't
 * finite, so those are refused here.
 */
export function writeGgufAdapter(
  path: string,
  adapter: LoraAdapter,
  description: AdapterDescription = {},
): void {
  requireFinite(adapter);
  if (adapterRank(adapter) === 0) throw new Fault("invalid-argument", "the adapter is empty");
  const metadata = new Map<string, GgufValue>([
    ["general.architecture", ggufString(adapter.architecture)],
    ["general.type", ggufString("adapter")],
    ["adapter.type", ggufString("lora")],
    ["adapter.lora.alpha", ggufFloat32(adapter.alpha)],
    ["general.name", ggufString(description.name ?? "isthmus-adapter")],
  ]);
  if (description.version) metadata.set("general.version", ggufString(description.version));
  const tensors = [...adapterTensors(adapter)].map(([name, { shape, data }]) => ({
    name,
    // GGUF counts the row length first, so that the bytes are those of the row-major matrix.
    dimensions: shape.toReversed(),
    type: TensorType.f32,
    data,
  }));
  writeGguf(path, metadata, tensors);
}

/** Reads a GGUF adapter of any float type. Faults: invalid-argument, unsupported. */
export function readGgufAdapter(path: string): LoraAdapter {
  const file = readGguf(path);
  const alpha = metadataNumber(file.metadata, "adapter.lora.alpha");
  const architecture = metadataString(file.metadata, "general.architecture");
  const type = metadataString(file.metadata, "adapter.type");
  if (type !== "lora" || alpha === undefined || architecture === undefined) {
    throw new Fault("invalid-argument", `${path}: a GGUF file, but not a LoRA adapter`);
  }
  const tensors = new Map<string, SafeTensor>();
  for (const tensor of file.tensors.values()) {
    const data = dequantize(readTensorBytes(file, tensor), tensor.type);
    tensors.set(tensor.name, { shape: tensor.dimensions.toReversed(), data });
  }
  return { architecture, alpha, modules: modulesOf(tensors, path) };
}
