// Quantizes rows to f16, q8_0 and q4_0 exactly as ggml's reference does, and reads them back.
//
// Source: ggml-quants.c, quantize_row_q8_0_ref and quantize_row_q4_0_ref. The tests compare
// bytes with ggml's own; Math.fround stands wherever C computes in single precision.

import { Fault } from "../../proto/fault.ts";
import { bf16ToF32, f16ToF32, f32ToF16 } from "./half-float.ts";
import { TensorType } from "./tensor-type.ts";

const BLOCK = 32;
const Q8_BYTES = 34;
const Q4_BYTES = 18;

/** The types that Isthmus writes. */
export type QuantizedType =
  | typeof TensorType.f32
  | typeof TensorType.f16
  | typeof TensorType.q8_0
  | typeof TensorType.q4_0;

/** Encodes f32 values. Requires: a multiple of 32 values for q8_0 and q4_0. */
export function quantize(values: Float32Array, type: QuantizedType): Uint8Array {
  switch (type) {
    case TensorType.f32:
      return new Uint8Array(values.slice().buffer);
    case TensorType.f16:
      return new Uint8Array(Uint16Array.from(values, f32ToF16).buffer);
    case TensorType.q8_0:
      return quantizeQ8(values);
    case TensorType.q4_0:
      return quantizeQ4(values);
  }
}

/** Decodes to f32. Faults: unsupported (the K-quants and the other old types). */
export function dequantize(bytes: Uint8Array, type: TensorType): Float32Array {
  const { buffer } = bytes.slice();
  switch (type) {
    case TensorType.f32:
      return new Float32Array(buffer);
    case TensorType.f16:
      return Float32Array.from(new Uint16Array(buffer), f16ToF32);
    case TensorType.bf16:
      return Float32Array.from(new Uint16Array(buffer), bf16ToF32);
    case TensorType.q8_0:
      return dequantizeQ8(bytes);
    case TensorType.q4_0:
      return dequantizeQ4(bytes);
    default:
      throw new Fault(
        "unsupported",
        `tensor type ${type} can't be decoded; use an f32, f16, bf16, q8_0 or q4_0 file`,
      );
  }
}

function quantizeQ8(values: Float32Array): Uint8Array {
  const { blocks, out, view } = allocate(values, Q8_BYTES);
  for (let b = 0; b < blocks; b++) {
    let largest = 0;
    for (let i = 0; i < BLOCK; i++) {
      largest = Math.max(largest, Math.abs(values[b * BLOCK + i] as number));
    }
    const scale = Math.fround(largest / 127);
    const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
    view.setUint16(b * Q8_BYTES, f32ToF16(scale), true);
    for (let i = 0; i < BLOCK; i++) {
      const x = Math.fround((values[b * BLOCK + i] as number) * inverse);
      // roundf rounds halves away from zero.
      const rounded = Math.sign(x) * Math.floor(Math.abs(x) + 0.5);
      view.setInt8(b * Q8_BYTES + 2 + i, rounded);
    }
  }
  return out;
}

function quantizeQ4(values: Float32Array): Uint8Array {
  const { blocks, out, view } = allocate(values, Q4_BYTES);
  for (let b = 0; b < blocks; b++) {
    let extreme = 0;
    for (let i = 0; i < BLOCK; i++) {
      const x = values[b * BLOCK + i] as number;
      if (Math.abs(x) > Math.abs(extreme)) extreme = x;
    }
    const scale = Math.fround(extreme / -8);
    const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
    view.setUint16(b * Q4_BYTES, f32ToF16(scale), true);
    const level = (i: number) => {
      const x = Math.fround((values[b * BLOCK + i] as number) * inverse);
      return Math.min(15, Math.trunc(Math.fround(x + 8.5)));
    };
    for (let i = 0; i < BLOCK / 2; i++) {
      view.setUint8(b * Q4_BYTES + 2 + i, level(i) | (level(i + BLOCK / 2) << 4));
    }
  }
  return out;
}

function dequantizeQ8(bytes: Uint8Array): Float32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const out = new Float32Array((bytes.length / Q8_BYTES) * BLOCK);
  for (let b = 0; b < bytes.length / Q8_BYTES; b++) {
    const scale = f16ToF32(view.getUint16(b * Q8_BYTES, true));
    for (let i = 0; i < BLOCK; i++) {
      out[b * BLOCK + i] = scale * view.getInt8(b * Q8_BYTES + 2 + i);
    }
  }
  return out;
}

function dequantizeQ4(bytes: Uint8Array): Float32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const out = new Float32Array((bytes.length / Q4_BYTES) * BLOCK);
  for (let b = 0; b < bytes.length / Q4_BYTES; b++) {
    const scale = f16ToF32(view.getUint16(b * Q4_BYTES, true));
    for (let i = 0; i < BLOCK / 2; i++) {
      const pair = view.getUint8(b * Q4_BYTES + 2 + i);
      out[b * BLOCK + i] = scale * ((pair & 15) - 8);
      out[b * BLOCK + BLOCK / 2 + i] = scale * ((pair >> 4) - 8);
    }
  }
  return out;
}

function allocate(values: Float32Array, blockBytes: number) {
  if (values.length % BLOCK !== 0) {
    throw new Fault(
      "failed-precondition",
      `${values.length} values don't divide into blocks of ${BLOCK}`,
    );
  }
  const blocks = values.length / BLOCK;
  const out = new Uint8Array(blocks * blockBytes);
  return { blocks, out, view: new DataView(out.buffer) };
}
