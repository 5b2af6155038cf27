// LoRA adapters as trainer state, GGUF, and PEFT folders.
import fs from "node:fs";
import path from "node:path";
import test from "ava";
import { Fault } from "../../../proto/fault.ts";
import { readGgufAdapter, writeGgufAdapter } from "../../../sync/formats/gguf-adapter.ts";
import { metadataString } from "../../../sync/formats/gguf-metadata.ts";
import { readGguf } from "../../../sync/formats/gguf-reader.ts";
import { ggufRowSources, rowsFromGguf, rowsToGguf } from "../../../sync/formats/llama-row-order.ts";
import {
  decodeAdapterState,
  encodeAdapterState,
  type LoraAdapter,
  type LoraModule,
} from "../../../sync/formats/lora-adapter.ts";
import { readPeftAdapter, writePeftAdapter } from "../../../sync/formats/peft-adapter.ts";
import {
  decodeSafetensors,
  encodeSafetensors,
  readSafetensors,
} from "../../../sync/formats/safetensors.ts";
import { temporaryFolder } from "../../edge-node/training/tiny-model.ts";

const folder = temporaryFolder();
const HEADS = { heads: 2, kvHeads: 1 };

function counting(length: number, from = 0): Float32Array {
  return Float32Array.from({ length }, (_, i) => from + i);
}

function sampleAdapter(rank = 2): LoraAdapter {
  const module = (inputs: number, outputs: number): LoraModule => ({
    rank,
    inputs,
    outputs,
    a: counting(rank * inputs, 100),
    b: counting(outputs * rank),
  });
  return {
    architecture: "llama",
    alpha: 6,
    modules: new Map([
      ["blk.0.attn_q.weight", module(16, 16)],
      ["blk.0.attn_k.weight", module(16, 8)],
      ["blk.1.ffn_down.weight", module(24, 16)],
    ]),
  };
}

test("the row order of attn_q is llama.cpp's", (t) => {
  const expected = [0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15];
  t.deepEqual(ggufRowSources(16, 2), expected);
  const rows = counting(32);
  t.deepEqual([...rowsToGguf(rows, 16, 2)].slice(0, 4), [0, 1, 8, 9]);
  t.deepEqual(rowsFromGguf(rowsToGguf(rows, 16, 2), 16, 2), rows);
});

test("trainer state and GGUF bring an adapter back as it was", (t) => {
  const adapter = sampleAdapter();
  t.deepEqual(decodeAdapterState(Buffer.from(encodeAdapterState(adapter)), "state"), adapter);
  const file = path.join(folder, "adapter.gguf");
  writeGgufAdapter(file, adapter, { name: "commands", version: "v2" });
  t.deepEqual(readGgufAdapter(file), adapter);
});

test("a GGUF adapter has the layout that llama.cpp reads", (t) => {
  const file = path.join(folder, "layout.gguf");
  writeGgufAdapter(file, sampleAdapter(), { version: "v2" });
  const { metadata, tensors } = readGguf(file);
  t.is(metadataString(metadata, "general.type"), "adapter");
  t.is(metadataString(metadata, "adapter.type"), "lora");
  t.is(metadataString(metadata, "general.architecture"), "llama");
  t.is(metadata.get("adapter.lora.alpha")?.type, "float32");
  t.deepEqual(tensors.get("blk.1.ffn_down.weight.lora_a")?.dimensions, [24, 2]);
  t.deepEqual(tensors.get("blk.1.ffn_down.weight.lora_b")?.dimensions, [2, 16]);
});

test("an adapter with a number that isn't finite, or with nothing, isn't written", (t) => {
  const file = path.join(folder, "refused.gguf");
  const poisoned = sampleAdapter();
  const module = poisoned.modules.get("blk.0.attn_k.weight") as LoraModule;
  module.b[3] = Number.NaN;
  t.throws(() => writeGgufAdapter(file, poisoned), { instanceOf: Fault, message: /attn_k/ });
  const empty = { ...sampleAdapter(), modules: new Map() };
  t.throws(() => writeGgufAdapter(file, empty), { instanceOf: Fault });
  t.false(fs.existsSync(file));
});

test("PEFT gets Hugging Face's names, shapes and row order, and gives the adapter back", (t) => {
  const adapter = sampleAdapter();
  const peft = path.join(folder, "peft");
  writePeftAdapter(peft, adapter, HEADS, "base");
  const { tensors } = readSafetensors(path.join(peft, "adapter_model.safetensors"));
  const layer = "base_model.model.model.layers";
  t.deepEqual(tensors.get(`${layer}.1.mlp.down_proj.lora_A.weight`)?.shape, [2, 24]);
  t.deepEqual(tensors.get(`${layer}.0.self_attn.k_proj.lora_B.weight`)?.shape, [8, 2]);
  // GGUF's row 1 of a head is Hugging Face's row 4: there our second row [2, 3] must stand.
  const q = tensors.get(`${layer}.0.self_attn.q_proj.lora_B.weight`)?.data as Float32Array;
  t.deepEqual([...q.subarray(8, 10)], [2, 3]);
  const config = JSON.parse(fs.readFileSync(path.join(peft, "adapter_config.json"), "utf8"));
  t.like(config, { peft_type: "LORA", r: 2, lora_alpha: 6, use_rslora: false });
  t.deepEqual(config.target_modules, ["down_proj", "k_proj", "q_proj"]);
  t.deepEqual(readPeftAdapter(peft, HEADS), adapter);
});

test("rsLoRA's scale becomes an alpha that GGUF's scale agrees with", (t) => {
  const peft = path.join(folder, "rslora");
  writePeftAdapter(peft, sampleAdapter(4), HEADS);
  const file = path.join(peft, "adapter_config.json");
  const config = JSON.parse(fs.readFileSync(file, "utf8"));
  fs.writeFileSync(file, JSON.stringify({ ...config, use_rslora: true }));
  const { alpha } = readPeftAdapter(peft, HEADS);
  t.is(alpha / 4, 6 / Math.sqrt(4));
});

test("PEFT folders of other kinds are refused", (t) => {
  const peft = path.join(folder, "other");
  writePeftAdapter(peft, sampleAdapter(), HEADS);
  const file = path.join(peft, "adapter_config.json");
  fs.writeFileSync(file, JSON.stringify({ peft_type: "IA3" }));
  t.throws(() => readPeftAdapter(peft, HEADS), { instanceOf: Fault, message: /only LoRA/ });
  fs.writeFileSync(file, "{");
  t.throws(() => readPeftAdapter(peft, HEADS), { instanceOf: Fault, message: /JSON/ });
  const mixed = sampleAdapter();
  const odd = sampleAdapter(4).modules.get("blk.0.attn_q.weight") as LoraModule;
  const modules = new Map([...mixed.modules, ["blk.0.attn_q.weight", odd]]);
  t.throws(() => writePeftAdapter(peft, { ...mixed, modules }, HEADS), { message: /one rank/ });
});

test("tensors without their partner, or of another shape, are refused", (t) => {
  const decode = (tensors: Record<string, number[]>) =>
    decodeAdapterState(
      Buffer.from(
        encodeSafetensors({
          metadata: { architecture: "llama", alpha: "1" },
          tensors: new Map(
            Object.entries(tensors).map(([name, shape]) => [
              name,
              { shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)) },
            ]),
          ),
        }),
      ),
      "state",
    );
  t.is(decode({ "x.lora_a": [2, 4], "x.lora_b": [3, 2] }).modules.size, 1);
  t.throws(() => decode({ "x.lora_a": [2, 4] }), { message: /partner/ });
  t.throws(() => decode({ "x.lora_b": [2, 4] }), { message: /partner/ });
  t.throws(() => decode({ "x.weight": [2, 4] }), { message: /partner/ });
  t.throws(() => decode({ "x.lora_a": [2, 4], "x.lora_b": [3, 3] }), { message: /A 2×4/ });
  t.throws(() => decode({ "x.lora_a": [8], "x.lora_b": [3, 2] }), { message: /A 8 / });
});

test("safetensors of f16 and bf16 are read as f32", (t) => {
  const header = Buffer.from(
    JSON.stringify({
      half: { dtype: "F16", shape: [2], data_offsets: [0, 4] },
      brain: { dtype: "BF16", shape: [1], data_offsets: [4, 6] },
    }),
  );
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  const data = Buffer.from([0x00, 0x3c, 0x00, 0xc0, 0xc0, 0x3f]);
  const { tensors } = decodeSafetensors(Buffer.concat([length, header, data]), "file");
  t.deepEqual([...(tensors.get("half")?.data ?? [])], [1, -2]);
  t.deepEqual([...(tensors.get("brain")?.data ?? [])], [1.5]);
});

test("a safetensors file cut anywhere is refused with a fault", (t) => {
  const tensors = new Map([["x", { shape: [3], data: counting(3) }]]);
  const whole = Buffer.from(encodeSafetensors({ metadata: { a: "b" }, tensors }));
  for (let length = 0; length < whole.length; length++) {
    const cut = () => decodeSafetensors(whole.subarray(0, length), "cut");
    t.throws(cut, { instanceOf: Fault }, `cut to ${length} bytes`);
  }
  t.deepEqual(decodeSafetensors(whole, "whole").tensors.get("x")?.data, counting(3));
});
