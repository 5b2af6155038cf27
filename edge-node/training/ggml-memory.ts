// Contexts and buffers of ggml: where tensors are declared, and where their numbers live.

import { elementCount } from "../../sync/formats/tensor-type.ts";
import type { GgmlFunctions } from "./ggml-library.ts";
import { shapeOf, type Tensor } from "./gradient-tape.ts";

/** Opens a context that declares tensors without memory; `graphNodes` makes room for a graph. */
export function openContext(ggml: GgmlFunctions, tensors: number, graphNodes = 0): bigint {
  const graph = graphNodes ? ggml.ggml_graph_overhead_custom(graphNodes, true) : 0;
  return ggml.ggml_init({
    mem_size: ggml.ggml_tensor_overhead() * tensors + graph,
    mem_buffer: null,
    no_alloc: true,
  });
}

export function declareTensor(
  ggml: GgmlFunctions,
  context: bigint,
  type: number,
  dimensions: readonly number[],
): Tensor {
  return ggml.ggml_new_tensor_4d(context, type, ...shapeOf(dimensions));
}

export function writeTensor(ggml: GgmlFunctions, tensor: Tensor, data: ArrayBufferView): void {
  ggml.ggml_backend_tensor_set(tensor, data, 0, data.byteLength);
}

export function readFloats(
  ggml: GgmlFunctions,
  tensor: Tensor,
  dimensions: readonly number[],
): Float32Array {
  const data = new Float32Array(elementCount(dimensions));
  ggml.ggml_backend_tensor_get(tensor, data, 0, data.byteLength);
  return data;
}
