// Checks that a GGUF file is a llama model that the trainer's graph can express, before ggml sees
// any of it: ggml answers a wrong shape by ending the process.

import { Fault } from "../../proto/fault.ts";
import {
  type GgufMetadata,
  metadataNumber,
  metadataString,
  requireNumber,
} from "../../sync/formats/gguf-metadata.ts";
import type { GgufFile, GgufTensorInfo } from "../../sync/formats/gguf-reader.ts";

/** The sizes of a llama model. */
export interface LlamaShape {
  readonly embedding: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headSize: number;
  readonly feedForward: number;
  readonly vocabulary: number;
  readonly contextTokens: number;
  readonly normEpsilon: number;
  readonly ropeDimensions: number;
  readonly ropeBase: number;
  readonly ropeScale: number;
  /** Whether the token embedding also serves as the output matrix. */
  readonly tiedOutput: boolean;
}

/** Reads a model's sizes and checks every tensor against them. Faults: unsupported. */
export function readLlamaShape(file: GgufFile): LlamaShape {
  const { metadata } = file;
  const architecture = metadataString(metadata, "general.architecture");
  if (architecture !== "llama") {
    throw badModel(`architecture ${architecture ?? "(none)"}: only llama models can be trained`);
  }
  const scaling = metadataString(metadata, "llama.rope.scaling.type") ?? "none";
  if (scaling !== "none" && scaling !== "linear") {
    throw badModel(`rope scaling ${scaling} isn't supported; use a model without it`);
  }
  const shape = readSizes(file, metadata);
  const expected = expectedTensors(shape, file);
  for (const [name, dimensions] of expected) checkTensor(file.tensors.get(name), name, dimensions);
  for (const name of file.tensors.keys()) {
    if (!expected.has(name)) {
      throw badModel(`tensor ${name} belongs to a llama variant that can't be trained here`);
    }
  }
  return shape;
}

function readSizes(file: GgufFile, metadata: GgufMetadata): LlamaShape {
  const size = (key: string, fallback?: number) => {
    const value =
      fallback === undefined
        ? requireNumber(metadata, `llama.${key}`)
        : (metadataNumber(metadata, `llama.${key}`) ?? fallback);
    if (!Number.isInteger(value) || value < 1) throw badModel(`llama.${key} is ${value}`);
    return value;
  };
  const embedding = size("embedding_length");
  const heads = size("attention.head_count");
  const headSize = size("attention.key_length", embedding / heads);
  return {
    embedding,
    layers: size("block_count"),
    heads,
    kvHeads: size("attention.head_count_kv", heads),
    headSize,
    feedForward: size("feed_forward_length"),
    vocabulary: file.tensors.get("token_embd.weight")?.dimensions[1] ?? 0,
    contextTokens: size("context_length"),
    normEpsilon: requireNumber(metadata, "llama.attention.layer_norm_rms_epsilon"),
    ropeDimensions: size("rope.dimension_count", headSize),
    ropeBase: metadataNumber(metadata, "llama.rope.freq_base") ?? 10000,
    ropeScale: 1 / (metadataNumber(metadata, "llama.rope.scaling.factor") ?? 1),
    tiedOutput: !file.tensors.has("output.weight"),
  };
}

/** The name and dimensions of every tensor that the model must have, and may have. */
function expectedTensors(shape: LlamaShape, file: GgufFile): Map<string, readonly number[]> {
  const { embedding, heads, kvHeads, headSize, feedForward, vocabulary } = shape;
  if (heads % kvHeads !== 0) throw badModel(`${heads} heads over ${kvHeads} key-value heads`);
  const expected = new Map<string, readonly number[]>([
    ["token_embd.weight", [embedding, vocabulary]],
    ["output_norm.weight", [embedding]],
  ]);
  if (!shape.tiedOutput) expected.set("output.weight", [embedding, vocabulary]);
  if (file.tensors.has("rope_freqs.weight")) {
    expected.set("rope_freqs.weight", [shape.ropeDimensions / 2]);
  }
  for (let layer = 0; layer < shape.layers; layer++) {
    const add = (name: string, ...dimensions: number[]) =>
      expected.set(`blk.${layer}.${name}.weight`, dimensions);
    add("attn_norm", embedding);
    add("attn_q", embedding, headSize * heads);
    add("attn_k", embedding, headSize * kvHeads);
    add("attn_v", embedding, headSize * kvHeads);
    add("attn_output", headSize * heads, embedding);
    add("ffn_norm", embedding);
    add("ffn_gate", embedding, feedForward);
    add("ffn_up", embedding, feedForward);
    add("ffn_down", feedForward, embedding);
  }
  return expected;
}

function checkTensor(
  tensor: GgufTensorInfo | undefined,
  name: string,
  dimensions: readonly number[],
): void {
  const expected = dimensions.join("×");
  const found = tensor?.dimensions.join("×");
  if (found !== expected) {
    throw badModel(`tensor ${name} is ${found ?? "absent"}; its metadata asks for ${expected}`);
  }
}

function badModel(message: string): Fault {
  return new Fault("unsupported", message);
}
