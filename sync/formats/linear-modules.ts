// The matrices of a llama layer that LoRA can adapt, by their GGUF names.

/** All of them: what an empty list of modules means. */
export const LINEAR_MODULES = [
  "attn_q",
  "attn_k",
  "attn_v",
  "attn_output",
  "ffn_gate",
  "ffn_up",
  "ffn_down",
] as const;
export type LinearModule = (typeof LINEAR_MODULES)[number];
