// A lower-rank edge's change in the campaign's shapes: what it left alone has changed by 0.
// Shapes: A [rank, in], B [out, rank].
import { Fault } from "../../proto/fault.ts";
import type { TensorLayout, TensorMap } from "../delta/tensor-map.ts";
import type { SafeTensor } from "../formats/safetensors.ts";

/** Faults: `invalid-argument` for tensors that aren't the layout's first components. */
export function widenToLayout(tensors: TensorMap, layout: TensorLayout): TensorMap {
  const wide = new Map<string, SafeTensor>();
  for (const [name, shape] of layout) {
    const tensor = tensors.get(name);
    if (!tensor || !fitsInto(tensor.shape, shape)) {
      throw new Fault("invalid-argument", `tensor ${name} isn't a part of ${shape.join("×")}`);
    }
    wide.set(name, tensor.shape.join() === shape.join() ? tensor : widened(tensor, shape));
  }
  return wide;
}

function widened({ shape: [rows = 0, columns = 0], data }: SafeTensor, shape: readonly number[]) {
  const [, width = 0] = shape;
  const wide = new Float32Array(shape.reduce((a, b) => a * b, 1));
  for (let row = 0; row < rows; row++) {
    wide.set(data.subarray(row * columns, (row + 1) * columns), row * width);
  }
  return { shape, data: wide };
}

function fitsInto(small: readonly number[], large: readonly number[]): boolean {
  if (small.length !== large.length) return false;
  return (
    small.every((n, i) => n <= large[i]!) && (small.length === 2 || small.join() === `${large}`)
  );
}
