// Our numbers against ggml's: the same bytes for f16, q8_0 and q4_0.
import test from "ava";
import { openGgml } from "../../../edge-node/training/ggml-library.ts";
import { Fault } from "../../../proto/fault.ts";
import {
  dequantize,
  type QuantizedType,
  quantize,
} from "../../../sync/formats/block-quantization.ts";
import { bf16ToF32, f16ToF32, f32ToF16 } from "../../../sync/formats/half-float.ts";
import { seededRandom } from "../../../sync/formats/seeded-random.ts";
import { TensorType, tensorBytes } from "../../../sync/formats/tensor-type.ts";

const ROW = 64;
const ROWS = 512;
/** What rounding a tiny scale to a subnormal half can add, times the 127 steps of q8_0. */
const SCALE_ROUNDING = 127 * 2 ** -25;

/** Rows of many magnitudes, with zeros, ties and a row of nothing. */
function sampleValues(): Float32Array {
  const random = seededRandom(9);
  const values = Float32Array.from({ length: ROW * ROWS }, (_, i) => {
    const magnitude = 2 ** (Math.floor(i / ROW) % 30) / 2 ** 18;
    return i % 17 === 0 ? 0 : random.gauss() * magnitude;
  });
  for (let i = 0; i < ROW; i++) {
    values[i] = 0;
    values[ROW + i] = i - 32;
    values[2 * ROW + i] = (i % 9) / 2;
  }
  return values;
}

function ggmlBytes(values: Float32Array, type: QuantizedType): Uint8Array {
  const { functions } = openGgml();
  const out = new Uint8Array(tensorBytes(type, [ROW, ROWS]));
  functions.ggml_quantize_chunk(type, values, out, 0, ROWS, ROW, null);
  return out;
}

for (const name of ["f16", "q8_0", "q4_0"] as const) {
  test(`${name} bytes are those of ggml`, (t) => {
    const values = sampleValues();
    const type = TensorType[name];
    t.deepEqual(Buffer.from(quantize(values, type)), Buffer.from(ggmlBytes(values, type)));
  });
}

test("what is decoded is within half a step of what was encoded", (t) => {
  const values = sampleValues();
  for (const [type, share] of [
    [TensorType.f32, 0],
    [TensorType.f16, 2 ** -10],
    [TensorType.q8_0, 1 / 127],
    [TensorType.q4_0, 1 / 7],
  ] as const) {
    const decoded = dequantize(quantize(values, type), type);
    for (let block = 0; block < values.length; block += 32) {
      const part = values.subarray(block, block + 32);
      const bound = part.reduce((m, x) => Math.max(m, Math.abs(x)), 0) * share + SCALE_ROUNDING;
      const worst = part.reduce(
        (m, x, i) => Math.max(m, Math.abs(x - (decoded[block + i] as number))),
        0,
      );
      if (worst > bound) t.fail(`type ${type}, block ${block}: off by ${worst} of ${bound}`);
    }
  }
  t.pass();
});

test("every half float survives the way to f32 and back", (t) => {
  for (let half = 0; half < 65536; half++) {
    const value = f16ToF32(half);
    if (Number.isNaN(value)) t.true(Number.isNaN(f16ToF32(f32ToF16(value))));
    else if (f32ToF16(value) !== half) t.fail(`half ${half} became ${f32ToF16(value)}`);
  }
  t.is(f32ToF16(65520), 0x7c00);
  t.is(f32ToF16(1 + 2 ** -11), f32ToF16(1), "ties go to even");
  t.is(bf16ToF32(0x3fc0), 1.5);
});

test("K-quants aren't decoded, and odd lengths aren't encoded", (t) => {
  t.throws(() => dequantize(new Uint8Array(144), TensorType.q4_k), { instanceOf: Fault });
  t.throws(() => quantize(new Float32Array(33), TensorType.q8_0), { instanceOf: Fault });
});
