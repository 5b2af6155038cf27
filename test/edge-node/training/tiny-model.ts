// A llama model of some 100,000 random weights with a byte-level vocabulary, made where a test
// needs a real GGUF file that both ggml and the engine take.

import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { createTokenizer } from "../../../deploy/demo-model/byte-level-bpe.ts";
import {
  demoMetadata,
  type ModelSizes,
  padVocabulary,
  randomWeights,
  SPECIAL_TOKENS,
} from "../../../deploy/demo-model/demo-architecture.ts";
import { type QuantizedType, quantize } from "../../../sync/formats/block-quantization.ts";
import { writeGguf } from "../../../sync/formats/gguf-writer.ts";
import { requantizeGguf } from "../../../sync/formats/requantize.ts";
import { TensorType } from "../../../sync/formats/tensor-type.ts";

export const TINY_SIZES: ModelSizes = {
  embedding: 64,
  layers: 2,
  heads: 4,
  kvHeads: 2,
  feedForward: 96,
};

/** A folder that is gone when the test file's process ends. */
export function temporaryFolder(): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "isthmus-test-"));
  process.on("exit", () => fs.rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Writes the model and returns its path. */
export function writeTinyModel(
  folder: string,
  type: QuantizedType = TensorType.f32,
  { sizes = TINY_SIZES, untied = false }: { sizes?: ModelSizes; untied?: boolean } = {},
): string {
  const merges: string[] = [];
  const tokens = padVocabulary(createTokenizer(SPECIAL_TOKENS, merges).tokens);
  const weights = randomWeights(sizes, tokens.length, 7);
  if (untied) {
    const [embedding] = weights;
    if (!embedding) throw new Error("a model without tensors");
    const data = quantize(embedding.data as Float32Array, TensorType.f32);
    weights.push({ ...embedding, name: "output.weight", data });
  }
  const floats = path.join(folder, `tiny-${untied ? "untied-" : ""}f32.gguf`);
  writeGguf(floats, demoMetadata(sizes, { tokens, merges }), weights);
  if (type === TensorType.f32) return floats;
  const target = path.join(folder, `tiny-${untied ? "untied-" : ""}${type}.gguf`);
  requantizeGguf(floats, target, type);
  return target;
}
