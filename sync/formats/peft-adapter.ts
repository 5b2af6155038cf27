// PEFT LoRA adapters, the format of Hugging Face: adapter_config.json + adapter_model.safetensors.

import fs from "node:fs";
import path from "node:path";
import { Fault } from "../../proto/fault.ts";
import { rowsFromGguf, rowsToGguf } from "./llama-row-order.ts";
import { adapterRank, type LoraAdapter, type LoraModule } from "./lora-adapter.ts";
import { readSafetensors, type SafeTensor, writeSafetensors } from "./safetensors.ts";

/** The heads of the base model, by which rows of attn_q and attn_k are ordered. */
export interface AttentionHeads {
  readonly heads: number;
  readonly kvHeads: number;
}

/** GGUF's name of a layer's matrix, and the path that Hugging Face's llama gives it. */
const MODULE_PATHS: Readonly<Record<string, string>> = {
  attn_q: "self_attn.q_proj",
  attn_k: "self_attn.k_proj",
  attn_v: "self_attn.v_proj",
  attn_output: "self_attn.o_proj",
  ffn_gate: "mlp.gate_proj",
  ffn_up: "mlp.up_proj",
  ffn_down: "mlp.down_proj",
};
const GGUF_NAMES = new Map(Object.entries(MODULE_PATHS).map(([gguf, hf]) => [hf, gguf]));
const PREFIX = "base_model.model.model.layers.";
const CONFIG_FILE = "adapter_config.json";
export const PEFT_WEIGHTS_FILE = "adapter_model.safetensors";

/** Writes a folder that PEFT loads. Faults: unsupported, when the ranks differ. */
export function writePeftAdapter(
  folder: string,
  adapter: LoraAdapter,
  { heads, kvHeads }: AttentionHeads,
  baseModel = "",
): void {
  const rank = adapterRank(adapter);
  const tensors = new Map<string, SafeTensor>();
  const targets = new Set<string>();
  for (const [weight, module] of adapter.modules) {
    if (module.rank !== rank) {
      throw new Fault("unsupported", "PEFT wants one rank in all modules; compress first");
    }
    const { layer, name } = splitWeight(weight);
    const hf = MODULE_PATHS[name] as string;
    const b = permuted(name)
      ? rowsFromGguf(module.b, module.outputs, name === "attn_q" ? heads : kvHeads)
      : module.b;
    const key = `${PREFIX}${layer}.${hf}`;
    tensors.set(`${key}.lora_A.weight`, { shape: [rank, module.inputs], data: module.a });
    tensors.set(`${key}.lora_B.weight`, { shape: [module.outputs, rank], data: b });
    targets.add(hf.split(".")[1] as string);
  }
  const config = {
    peft_type: "LORA",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: baseModel,
    r: rank,
    lora_alpha: adapter.alpha,
    lora_dropout: 0,
    bias: "none",
    use_rslora: false,
    target_modules: [...targets].sort(),
  };
  fs.mkdirSync(folder, { recursive: true });
  writeSafetensors(path.join(folder, PEFT_WEIGHTS_FILE), { metadata: { format: "pt" }, tensors });
  fs.writeFileSync(path.join(folder, CONFIG_FILE), `${JSON.stringify(config, null, 2)}\n`);
}

/**
 * Reads a PEFT folder of a llama model. rsLoRA's scale α/√r becomes alpha = α·√r, because GGUF
 * knows α/r alone. Faults: invalid-argument, unsupported.
 */
export function readPeftAdapter(folder: string, { heads, kvHeads }: AttentionHeads): LoraAdapter {
  const config = readConfig(path.join(folder, CONFIG_FILE));
  const source = path.join(folder, PEFT_WEIGHTS_FILE);
  const { tensors } = readSafetensors(source);
  const modules = new Map<string, LoraModule>();
  let rank = 0;
  for (const [key, a] of tensors) {
    if (key.endsWith(".lora_B.weight")) continue;
    const weight = ggufWeight(key);
    const b = tensors.get(key.replace(".lora_A.", ".lora_B."));
    if (!weight || !b) throw new Fault("unsupported", `${source}: tensor ${key} isn't understood`);
    const [rows = 0, inputs = 0] = a.shape;
    const [outputs = 0, columns = 0] = b.shape;
    if (rows !== columns) {
      throw new Fault("invalid-argument", `${source}: ranks ${rows} and ${columns} at ${key}`);
    }
    rank = rows;
    const { name } = splitWeight(weight);
    const ordered = permuted(name)
      ? rowsToGguf(b.data, outputs, name === "attn_q" ? heads : kvHeads)
      : b.data;
    modules.set(weight, { rank, inputs, outputs, a: a.data, b: ordered });
  }
  const alpha = config.rslora ? config.alpha * Math.sqrt(rank) : config.alpha;
  return { architecture: "llama", alpha, modules };
}

function readConfig(file: string): { alpha: number; rslora: boolean } {
  let parsed: Record<string, unknown>;
  try {
    parsed = JSON.parse(fs.readFileSync(file, "utf8")) as Record<string, unknown>;
  } catch (cause) {
    throw new Fault("invalid-argument", `${file} can't be read as JSON`, { cause });
  }
  const { peft_type: type, lora_alpha: alpha, use_rslora: rslora } = parsed;
  if (type !== "LORA" || typeof alpha !== "number") {
    throw new Fault("unsupported", `${file}: only LoRA adapters with a lora_alpha are supported`);
  }
  return { alpha, rslora: rslora === true };
}

const permuted = (name: string) => name === "attn_q" || name === "attn_k";

function splitWeight(weight: string): { layer: number; name: string } {
  const [, layer, name = ""] = /^blk\.(\d+)\.(\w+)\.weight$/.exec(weight) ?? [];
  if (layer === undefined || !(name in MODULE_PATHS)) {
    throw new Fault("unsupported", `${weight} has no counterpart in Hugging Face's llama`);
  }
  return { layer: Number(layer), name };
}

function ggufWeight(key: string): string | undefined {
  const [, layer, hf = ""] = /\.layers\.(\d+)\.([\w.]+)\.lora_A\.weight$/.exec(key) ?? [];
  const name = GGUF_NAMES.get(hf);
  return name && layer !== undefined ? `blk.${layer}.${name}.weight` : undefined;
}
