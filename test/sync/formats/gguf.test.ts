// GGUF files: what is written is read back, and what others wrote wrongly is refused.
import fs from "node:fs";
import path from "node:path";
import test from "ava";
import fc from "fast-check";
import { Fault } from "../../../proto/fault.ts";
import {
  type GgufScalarType,
  type GgufValue,
  ggufString,
  ggufUint32,
  metadataString,
  requireNumber,
} from "../../../sync/formats/gguf-metadata.ts";
import { readGguf, readTensorBytes, requireTensor } from "../../../sync/formats/gguf-reader.ts";
import { writeGguf } from "../../../sync/formats/gguf-writer.ts";
import { requantizeGguf } from "../../../sync/formats/requantize.ts";
import { TensorType } from "../../../sync/formats/tensor-type.ts";
import { temporaryFolder, writeTinyModel } from "../../edge-node/training/tiny-model.ts";

const folder = temporaryFolder();
const file = path.join(folder, "file.gguf");

/** Values that each scalar type must carry unchanged. */
const SAMPLES: Record<GgufScalarType, GgufValue["value"] & (number | string | boolean)[]> = {
  uint8: [0, 255],
  int8: [-128, 127],
  uint16: [0, 65535],
  int16: [-32768, 32767],
  uint32: [0, 2 ** 32 - 1],
  int32: [-(2 ** 31), 2 ** 31 - 1],
  float32: [0, -1.5, 2 ** -20],
  bool: [true, false],
  string: ["", "Ġäß\u{1f600}\n"],
  uint64: [0, Number.MAX_SAFE_INTEGER],
  int64: [-Number.MAX_SAFE_INTEGER, 1],
  float64: [Math.PI, -1e300],
};

test("metadata of every type, and tensors, come back as written", (t) => {
  const metadata = new Map<string, GgufValue>();
  for (const type of Object.keys(SAMPLES) as GgufScalarType[]) {
    for (const [i, value] of SAMPLES[type].entries()) {
      metadata.set(`${type}.${i}`, { type, value });
    }
    metadata.set(`${type}.array`, { type: "array", itemType: type, value: SAMPLES[type] });
  }
  const data = Float32Array.of(1, -2, 3, 4, 5, 6);
  const bytes = Uint8Array.from({ length: 34 }, (_, i) => i);
  writeGguf(file, metadata, [
    { name: "floats", dimensions: [3, 2], type: TensorType.f32, data },
    { name: "blocks", dimensions: [32], type: TensorType.q8_0, data: bytes },
  ]);
  const read = readGguf(file);
  t.deepEqual(read.metadata, metadata);
  t.deepEqual([...read.tensors.keys()], ["floats", "blocks"]);
  const floats = requireTensor(read, "floats");
  t.deepEqual(floats.dimensions, [3, 2]);
  t.is(floats.offset % 32, 0);
  t.deepEqual(new Float32Array(readTensorBytes(read, floats).buffer), data);
  t.deepEqual(readTensorBytes(read, requireTensor(read, "blocks")), bytes);
});

test("a header longer than one read, and another alignment, come back too", (t) => {
  const value = Array.from({ length: 200_000 }, (_, i) => `token ${i}`);
  const metadata = new Map<string, GgufValue>([
    ["general.alignment", ggufUint32(256)],
    ["tokens", { type: "array", itemType: "string", value }],
  ]);
  const data = Float32Array.of(7);
  writeGguf(file, metadata, [{ name: "x", dimensions: [1], type: TensorType.f32, data }]);
  const read = readGguf(file);
  t.deepEqual(read.metadata.get("tokens")?.value, value);
  t.is(requireTensor(read, "x").offset % 256, 0);
  t.deepEqual(new Float32Array(readTensorBytes(read, requireTensor(read, "x")).buffer), data);
});

test("a tensor whose data doesn't fit its shape isn't written, and no file is left", (t) => {
  const target = path.join(folder, "never.gguf");
  const data = new Float32Array(5);
  const tensor = { name: "x", dimensions: [3, 2], type: TensorType.f32, data };
  t.throws(() => writeGguf(target, new Map(), [tensor]), { instanceOf: Fault });
  t.false(fs.existsSync(target));
});

test("a file cut anywhere in its header or data is refused with a fault", (t) => {
  const data = new Float32Array(8);
  const metadata = new Map([["general.architecture", ggufString("llama")]]);
  writeGguf(file, metadata, [{ name: "x", dimensions: [8], type: TensorType.f32, data }]);
  const whole = fs.readFileSync(file);
  const cut = path.join(folder, "cut.gguf");
  for (let length = 0; length < whole.length; length++) {
    fs.writeFileSync(cut, whole.subarray(0, length));
    t.throws(() => readGguf(cut), { instanceOf: Fault }, `cut to ${length} bytes`);
  }
  fs.writeFileSync(cut, whole);
  t.notThrows(() => readGguf(cut));
});

test("flipped bytes in a header give a fault or a readable header, never anything else", (t) => {
  const metadata = new Map<string, GgufValue>([
    ["a", ggufString("text")],
    ["b", { type: "array", itemType: "int32", value: [1, 2, 3] }],
  ]);
  const data = new Float32Array(8);
  writeGguf(file, metadata, [{ name: "x", dimensions: [8], type: TensorType.f32, data }]);
  const whole = fs.readFileSync(file);
  const flipped = path.join(folder, "flipped.gguf");
  const law = fc.property(
    fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
    (changes) => {
      const bytes = Buffer.from(whole);
      for (const [at, value] of changes) bytes[at] = value;
      fs.writeFileSync(flipped, bytes);
      try {
        readGguf(flipped);
      } catch (error) {
        if (!(error instanceof Fault)) throw error;
      }
    },
  );
  fc.assert(law, { seed: 5, numRuns: 500 });
  t.pass();
});

test("lookups name the key that is absent or of another type", (t) => {
  const metadata = new Map([["name", ggufString("x")]]);
  t.is(metadataString(metadata, "name"), "x");
  t.is(metadataString(metadata, "other"), undefined);
  t.throws(() => requireNumber(metadata, "name"), { message: /name isn't a number/ });
  t.throws(() => requireNumber(metadata, "size"), { message: /lacks size/ });
});

test("requantizing changes matrices, keeps vectors, and keeps the output finer in q4_0", (t) => {
  const source = writeTinyModel(folder);
  for (const [name, type, fileType] of [
    ["f16", TensorType.f16, 1],
    ["q8_0", TensorType.q8_0, 7],
    ["q4_0", TensorType.q4_0, 2],
  ] as const) {
    requantizeGguf(source, file, type);
    const read = readGguf(file);
    const typeOf = (tensor: string) => requireTensor(read, tensor).type;
    t.is(typeOf("blk.0.ffn_up.weight"), type, name);
    t.is(typeOf("blk.0.ffn_norm.weight"), TensorType.f32, name);
    t.is(typeOf("token_embd.weight"), name === "q4_0" ? TensorType.q8_0 : type, name);
    t.is(requireNumber(read.metadata, "general.file_type"), fileType);
  }
});
