// A model's weights inside ggml, with the transposed copies that the backward pass multiplies by.

import { type GgufFile, readTensorBytes } from "../../sync/formats/gguf-reader.ts";
import { TensorType } from "../../sync/formats/tensor-type.ts";
import type { GgmlFunctions } from "./ggml-library.ts";
import { declareTensor, openContext, writeTensor } from "./ggml-memory.ts";
import type { Tensor } from "./gradient-tape.ts";

/** How the transposed copies are kept: f16 is near exact, q8_0 smaller and faster. */
export type TransposedType = typeof TensorType.f16 | typeof TensorType.q8_0 | typeof TensorType.f32;

/** Loaded weights. */
export interface LoadedWeights {
  readonly weights: ReadonlyMap<string, Tensor>;
  readonly transposed: ReadonlyMap<Tensor, Tensor>;
  readonly byteLength: number;
  free(): void;
}

/**
 * Loads every tensor of the file. `transposedType` null makes no copies, which is for training
 * the weights themselves.
 */
export function loadWeights(
  ggml: GgmlFunctions,
  backend: bigint,
  file: GgufFile,
  transposedType: TransposedType | null,
): LoadedWeights {
  const context = openContext(ggml, file.tensors.size * 2);
  const weights = new Map<string, Tensor>();
  const transposed = new Map<Tensor, Tensor>();
  for (const { name, type, dimensions } of file.tensors.values()) {
    const weight = declareTensor(ggml, context, type, dimensions);
    weights.set(name, weight);
    const [columns, rows] = dimensions;
    if (transposedType === null || columns === undefined || rows === undefined) continue;
    if (name === "token_embd.weight" && file.tensors.has("output.weight")) continue;
    const fits = transposedType !== TensorType.q8_0 || rows % 32 === 0;
    const copyType = fits ? transposedType : TensorType.f16;
    transposed.set(weight, declareTensor(ggml, context, copyType, [rows, columns]));
  }
  const buffer = ggml.ggml_backend_alloc_ctx_tensors(context, backend);
  for (const tensor of file.tensors.values()) {
    const weight = weights.get(tensor.name) as Tensor;
    writeTensor(ggml, weight, readTensorBytes(file, tensor));
    const copy = transposed.get(weight);
    if (copy !== undefined) transpose(ggml, backend, weight, tensor.type, copy);
  }
  return {
    weights,
    transposed,
    byteLength: ggml.ggml_backend_buffer_get_size(buffer),
    free: () => {
      ggml.ggml_backend_buffer_free(buffer);
      ggml.ggml_free(context);
    },
  };
}

/** Computes copy = weightᵀ with a graph of its own. */
function transpose(
  ggml: GgmlFunctions,
  backend: bigint,
  weight: Tensor,
  type: number,
  copy: Tensor,
): void {
  const context = openContext(ggml, 16, 16);
  const graph = ggml.ggml_new_graph_custom(context, 16, false);
  const floats = type === TensorType.f32 ? weight : ggml.ggml_cast(context, weight, TensorType.f32);
  const turned = ggml.ggml_cont(context, ggml.ggml_transpose(context, floats));
  ggml.ggml_build_forward_expand(graph, ggml.ggml_cpy(context, turned, copy));
  const allocator = ggml.ggml_gallocr_new(ggml.ggml_backend_get_default_buffer_type(backend));
  ggml.ggml_gallocr_alloc_graph(allocator, graph);
  ggml.ggml_backend_graph_compute(backend, graph);
  ggml.ggml_gallocr_free(allocator);
  ggml.ggml_free(context);
}
