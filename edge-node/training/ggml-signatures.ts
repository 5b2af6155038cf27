// The C functions of ggml that training calls: one table gives koffi's calls and their types.

/** What a C parameter or result is called in the table below. */
interface CTypes {
  void: undefined;
  pointer: bigint;
  optional: bigint | null;
  /** A buffer of ours that C reads or fills during the call. */
  buffer: ArrayBufferView;
  int: number;
  int64: number;
  size: number;
  float: number;
  bool: boolean;
  string: string | null;
  init: { mem_size: number; mem_buffer: null; no_alloc: boolean };
}
export type CType = keyof CTypes;

/** [result, ...parameters]. */
type Signature = readonly [CType, ...CType[]];

const unary = ["pointer", "pointer", "pointer"] as const;
const binary = ["pointer", "pointer", "pointer", "pointer"] as const;
// biome-ignore format: grouped as the C declaration is
const rope = [
  "pointer",
  "pointer", "pointer", "pointer", "optional", // context, tensor, positions, factors
  "int", "int", "int", // dimensions, mode, original context
  "float", "float", "float", "float", "float", "float", // base, scale, YaRN's four
] as const;

// biome-ignore format: grouped as the C declaration is
const adamw = [
  "pointer",
  "pointer", "pointer", "pointer", // context, parameter, gradient
  "pointer", "pointer", "pointer", // first and second moment, hyperparameters
] as const;

/** Functions of libggml-base. */
export const BASE_SIGNATURES = {
  ggml_version: ["string"],
  ggml_init: ["pointer", "init"],
  ggml_free: ["void", "pointer"],
  ggml_tensor_overhead: ["size"],
  ggml_graph_overhead_custom: ["size", "size", "bool"],
  ggml_new_tensor_4d: ["pointer", "pointer", "int", "int64", "int64", "int64", "int64"],
  ggml_dup_tensor: unary,
  ggml_set_param: ["void", "pointer"],
  ggml_set_loss: ["void", "pointer"],
  ggml_set_output: ["void", "pointer"],
  ggml_is_contiguous: ["bool", "pointer"],
  ggml_mul_mat: binary,
  ggml_out_prod: binary,
  ggml_add: binary,
  ggml_sub: binary,
  ggml_mul: binary,
  ggml_div: binary,
  ggml_scale: ["pointer", "pointer", "pointer", "float"],
  ggml_sqr: unary,
  ggml_sqrt: unary,
  ggml_sum: unary,
  ggml_clamp: ["pointer", "pointer", "pointer", "float", "float"],
  ggml_rms_norm: ["pointer", "pointer", "pointer", "float"],
  ggml_rms_norm_back: ["pointer", "pointer", "pointer", "pointer", "float"],
  ggml_rope_ext: rope,
  ggml_rope_ext_back: rope,
  ggml_reshape_4d: ["pointer", "pointer", "pointer", "int64", "int64", "int64", "int64"],
  ggml_permute: ["pointer", "pointer", "pointer", "int", "int", "int", "int"],
  ggml_transpose: unary,
  ggml_cont: unary,
  ggml_cast: ["pointer", "pointer", "pointer", "int"],
  ggml_cpy: binary,
  ggml_soft_max_ext: ["pointer", "pointer", "pointer", "pointer", "float", "float"],
  ggml_soft_max_ext_back: ["pointer", "pointer", "pointer", "pointer", "float", "float"],
  ggml_silu: unary,
  ggml_silu_back: binary,
  ggml_swiglu_split: binary,
  ggml_get_rows: binary,
  ggml_get_rows_back: ["pointer", "pointer", "pointer", "pointer", "pointer"],
  ggml_repeat_back: binary,
  ggml_cross_entropy_loss: binary,
  ggml_cross_entropy_loss_back: ["pointer", "pointer", "pointer", "pointer", "pointer"],
  ggml_opt_step_adamw: adamw,
  ggml_new_graph_custom: ["pointer", "pointer", "size", "bool"],
  ggml_build_forward_expand: ["void", "pointer", "pointer"],
  ggml_gallocr_new: ["pointer", "pointer"],
  ggml_gallocr_alloc_graph: ["bool", "pointer", "pointer"],
  ggml_gallocr_get_buffer_size: ["size", "pointer", "int"],
  ggml_gallocr_free: ["void", "pointer"],
  ggml_backend_dev_init: ["pointer", "pointer", "string"],
  ggml_backend_dev_backend_reg: ["pointer", "pointer"],
  ggml_backend_reg_get_proc_address: ["pointer", "pointer", "string"],
  ggml_backend_get_default_buffer_type: ["pointer", "pointer"],
  ggml_backend_alloc_ctx_tensors: ["pointer", "pointer", "pointer"],
  ggml_backend_buffer_get_size: ["size", "pointer"],
  ggml_backend_buffer_clear: ["void", "pointer", "int"],
  ggml_backend_buffer_free: ["void", "pointer"],
  ggml_backend_free: ["void", "pointer"],
  ggml_backend_graph_compute: ["int", "pointer", "pointer"],
  ggml_backend_tensor_set: ["void", "pointer", "buffer", "size", "size"],
  ggml_backend_tensor_get: ["void", "pointer", "buffer", "size", "size"],
  // biome-ignore format: one line
  ggml_quantize_chunk: ["size", "int", "buffer", "buffer", "int64", "int64", "int64", "optional"],
} as const satisfies Record<string, Signature>;

/** Functions of libggml, which knows the backends. */
export const REGISTRY_SIGNATURES = {
  ggml_backend_load_all_from_path: ["void", "string"],
  ggml_backend_dev_by_type: ["optional", "int"],
} as const satisfies Record<string, Signature>;

type Bound<S extends Signature> = S extends readonly [infer R extends CType, ...infer P]
  ? (...parameters: { [K in keyof P]: P[K] extends CType ? CTypes[P[K]] : never }) => CTypes[R]
  : never;

/** Every function of a table, callable. */
export type BoundFunctions<T extends Record<string, Signature>> = { [K in keyof T]: Bound<T[K]> };
