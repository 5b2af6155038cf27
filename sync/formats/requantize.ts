// Makes a quantized model from a full-precision one, tensor by tensor.

import { dequantize, type QuantizedType, quantize } from "./block-quantization.ts";
import { type GgufMetadata, ggufUint32 } from "./gguf-metadata.ts";
import { type GgufTensorInfo, readGguf, readTensorBytes } from "./gguf-reader.ts";
import { type GgufTensor, writeGguf } from "./gguf-writer.ts";
import { blockElements, TensorType } from "./tensor-type.ts";

/** llama.cpp's numbers for a file's main type (general.file_type). */
const FILE_TYPES: Record<QuantizedType, number> = {
  [TensorType.f32]: 0,
  [TensorType.f16]: 1,
  [TensorType.q4_0]: 2,
  [TensorType.q8_0]: 7,
};

/** What alters the numbers of a tensor in place, by the tensor's name. */
export type WeightChanges = ReadonlyMap<string, (weights: Float32Array) => void>;

/**
 * Writes `source` with its matrices in another type; vectors (norms, biases) stay f32.
 *
 * In a q4_0 file the output matrix (the token embedding, where it serves as both) stays at q8_0,
 * as llama.cpp's own mixes keep it finer: every logit passes through it. `changes` are made in f32,
 * before anything is rounded. Memory: one model of the wanted type, and one tensor in f32.
 */
export function requantizeGguf(
  source: string,
  target: string,
  type: QuantizedType,
  changes: WeightChanges = new Map(),
): void {
  const file = readGguf(source);
  const outputName = file.tensors.has("output.weight") ? "output.weight" : "token_embd.weight";
  const tensors = [...file.tensors.values()].map((tensor): GgufTensor => {
    const data = readTensorBytes(file, tensor);
    const wanted = targetType(tensor, type, tensor.name === outputName);
    const change = changes.get(tensor.name);
    if (wanted === tensor.type && change === undefined) return { ...tensor, data };
    const weights = dequantize(data, tensor.type);
    change?.(weights);
    return { ...tensor, type: wanted, data: quantize(weights, wanted) };
  });
  writeGguf(target, withFileType(file.metadata, FILE_TYPES[type]), tensors);
}

function targetType(tensor: GgufTensorInfo, type: QuantizedType, isOutput: boolean) {
  if (tensor.dimensions.length < 2) return TensorType.f32;
  const wanted = type === TensorType.q4_0 && isOutput ? TensorType.q8_0 : type;
  // A row that doesn't divide into blocks can't be quantized.
  return (tensor.dimensions[0] as number) % blockElements(wanted) === 0 ? wanted : TensorType.f16;
}

function withFileType(metadata: GgufMetadata, fileType: number): GgufMetadata {
  return new Map([...metadata, ["general.file_type", ggufUint32(fileType)]]);
}
