// Adapters that become part of the weights.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { dequantize } from "../../../sync/formats/block-quantization.ts";
import { writeGgufAdapter } from "../../../sync/formats/gguf-adapter.ts";
import { ggufString } from "../../../sync/formats/gguf-metadata.ts";
import { readGguf, readTensorBytes } from "../../../sync/formats/gguf-reader.ts";
import { writeGguf } from "../../../sync/formats/gguf-writer.ts";
import { addProduct, mergeLora } from "../../../sync/formats/lora-merge.ts";
import { seededRandom } from "../../../sync/formats/seeded-random.ts";
import { TensorType } from "../../../sync/formats/tensor-type.ts";

const dir = mkdtempSync(join(tmpdir(), "isthmus-lora-merge-"));
test.after.always(() => rmSync(dir, { recursive: true }));

const INPUTS = 64;
const OUTPUTS = 3;
const random = seededRandom(4);
const gauss = (count: number) => Float32Array.from({ length: count }, () => random.gauss());
const llama = new Map([["general.architecture", ggufString("llama")]]);

function writeMaster(name: string): { path: string; weights: Float32Array } {
  const path = join(dir, name);
  const weights = gauss(INPUTS * OUTPUTS);
  const dimensions = [INPUTS, OUTPUTS];
  const type = TensorType.f32;
  writeGguf(path, llama, [
    { name: "blk.0.attn_q.weight", dimensions, type, data: weights },
    { name: "blk.0.attn_k.weight", dimensions, type, data: weights },
    { name: "blk.0.attn_norm.weight", dimensions: [INPUTS], type, data: gauss(INPUTS) },
  ]);
  return { path, weights };
}

function writeAdapter(name: string, rank: number, alpha: number, outputs = OUTPUTS, on = "llama") {
  const path = join(dir, name);
  const pair = { rank, inputs: INPUTS, outputs, a: gauss(rank * INPUTS), b: gauss(outputs * rank) };
  const modules = new Map([["blk.0.attn_q.weight", pair]]);
  writeGgufAdapter(path, { architecture: on, alpha, modules });
  return { path, pair };
}

function weightsOf(path: string, name: string): Float32Array {
  const file = readGguf(path);
  const tensor = file.tensors.get(name)!;
  return dequantize(readTensorBytes(file, tensor), tensor.type);
}

test("W + s·B·A of the known answer", (t) => {
  // The first pair of the exact sum in the design notes, alone: B₁·A₁.
  const pair = {
    ...{ rank: 2, inputs: 4, outputs: 3 },
    a: Float32Array.of(1, 2, 0, 1, 0, 1, 1, 0),
    b: Float32Array.of(1, 0, 0, 1, 1, 1),
  };
  const second = {
    ...{ rank: 2, inputs: 4, outputs: 3 },
    a: Float32Array.of(2, 0, 1, 1, 1, 1, 0, 2),
    b: Float32Array.of(0, 1, 2, 0, 1, -1),
  };
  const weights = new Float32Array(12);
  addProduct(weights, pair, 0.25);
  addProduct(weights, second, 0.75);
  t.deepEqual([...weights], [1, 1.25, 0, 1.75, 3, 0.25, 1.75, 1.5, 1, 0, 1, -0.5]);
});

test("adapters are added to their matrices by scale and alpha over rank", (t) => {
  const master = writeMaster("master.gguf");
  const one = writeAdapter("one.gguf", 2, 4);
  const two = writeAdapter("two.gguf", 3, 0);
  const target = join(dir, "merged.gguf");
  const adapters = [
    { path: one.path, scale: 0.5 },
    { path: two.path, scale: 2 },
  ];
  mergeLora(master.path, adapters, target, TensorType.f32);
  const expected = master.weights.slice();
  addProduct(expected, one.pair, 0.5 * 2);
  addProduct(expected, two.pair, 2 * 1);
  t.deepEqual(weightsOf(target, "blk.0.attn_q.weight"), expected);
  t.deepEqual(weightsOf(target, "blk.0.attn_k.weight"), master.weights, "nothing else is touched");
});

test("what is merged is rounded once, after the sum", (t) => {
  const master = writeMaster("master-q.gguf");
  const { path, pair } = writeAdapter("adapter-q.gguf", 2, 2);
  const target = join(dir, "merged-q.gguf");
  mergeLora(master.path, [{ path, scale: 1 }], target, TensorType.q8_0);
  const expected = master.weights.slice();
  addProduct(expected, pair, 1);
  const merged = weightsOf(target, "blk.0.attn_q.weight");
  const largest = Math.max(...expected.map(Math.abs));
  const worst = Math.max(...merged.map((value, i) => Math.abs(value - expected[i]!)));
  t.true(worst > 0 && worst <= largest / 127 / 2 + 1e-3, String(worst));
  t.is(readGguf(target).tensors.get("blk.0.attn_norm.weight")!.type, TensorType.f32);
});

test("a quantized master, another family and a wrong shape are refused by name", (t) => {
  const master = writeMaster("master-r.gguf");
  const target = join(dir, "refused.gguf");
  const good = writeAdapter("good.gguf", 2, 2);
  const quantized = join(dir, "quantized.gguf");
  mergeLora(master.path, [], quantized, TensorType.q8_0);
  const merge = (from: string, path: string) => () => {
    mergeLora(from, [{ path, scale: 1 }], target, TensorType.f16);
  };
  t.throws(merge(quantized, good.path), { message: /is quantized; merge into the master/ });
  const other = writeAdapter("other.gguf", 2, 2, OUTPUTS, "qwen2");
  t.throws(merge(master.path, other.path), { message: /for qwen2 on a model of llama/ });
  const wrong = writeAdapter("wrong.gguf", 2, 2, OUTPUTS + 1);
  t.throws(merge(master.path, wrong.path), {
    message: /attn_q\.weight: the model has 3×64, .* 4×64/,
  });
});
