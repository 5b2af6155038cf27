// A change of an adapter's factors, told in the coordinates of another factor pair. Where updates
// are stacked and truncated, each round's factors are other ones for (nearly) the same product, and
// a change that was kept from the round before would mean nothing in them.
//
// To first order a change (dB, dA) of (B₀, A₀) changes the product by dB·A₀ + B₀·dA. Told in
// (B₁, A₁) it is the (dB', dA') that comes nearest: dB' = dB·A₀·A₁⁺ and dA' = B₁⁺·B₀·dA. Nothing is
// lost when A₁ spans the rows of A₀, and B₁ the columns of B₀.
import type { TensorMap } from "../delta/tensor-map.ts";
import { type FactorPair, pairOf, tensorsOf, weightsOf } from "./lora-stack.ts";
import { type Matrix, matrix, multiply, transpose } from "./matrix.ts";

/** Share of the largest squared length below which a direction counts as absent. */
const ABSENT = 1e-10;

/** Requires three adapters of the same weights and rank. */
export function changeFrame(change: TensorMap, from: TensorMap, to: TensorMap): TensorMap {
  const pairs = weightsOf(change).map((weight): [string, FactorPair] => {
    const [{ a: da, b: db }, before, after] = [change, from, to].map((tensors) =>
      pairOf(tensors, weight),
    ) as [FactorPair, FactorPair, FactorPair];
    const turnA = solve(
      multiply(after.a, transpose(after.a)),
      multiply(after.a, transpose(before.a)),
    );
    const ofB = transpose(after.b);
    const turnB = solve(multiply(ofB, after.b), multiply(ofB, before.b));
    return [weight, { b: multiply(db, transpose(turnA)), a: multiply(turnB, da) }];
  });
  return tensorsOf(new Map(pairs));
}

/**
 * X with S·X = Y for a symmetric positive semidefinite S, by Gauss–Jordan elimination that takes
 * the largest diagonal first; X is 0 along directions that S doesn't have.
 */
function solve(s: Matrix, y: Matrix): Matrix {
  const n = s.rows;
  const left = Float64Array.from(s.data);
  const right = Float64Array.from(y.data);
  const width = y.columns;
  const open = new Set(Array.from({ length: n }, (_, i) => i));
  const largest = Math.max(0, ...Array.from(open, (i) => left[i * n + i]!));
  while (open.size > 0) {
    const pivot = [...open].reduce((p, i) => (left[i * n + i]! > left[p * n + p]! ? i : p));
    const length = left[pivot * n + pivot]!;
    if (!(length > ABSENT * largest)) break;
    open.delete(pivot);
    scaleRow(left, n, pivot, 1 / length);
    scaleRow(right, width, pivot, 1 / length);
    for (let i = 0; i < n; i++) {
      const factor = left[i * n + pivot]!;
      if (i === pivot || factor === 0) continue;
      subtractRow(left, n, i, pivot, factor);
      subtractRow(right, width, i, pivot, factor);
    }
  }
  for (const i of open) right.fill(0, i * width, (i + 1) * width);
  return matrix(n, width, right);
}

function scaleRow(data: Float64Array, width: number, row: number, factor: number): void {
  for (let j = row * width; j < (row + 1) * width; j++) data[j]! *= factor;
}

function subtractRow(
  data: Float64Array,
  width: number,
  row: number,
  other: number,
  factor: number,
): void {
  for (let j = 0; j < width; j++) data[row * width + j]! -= factor * data[other * width + j]!;
}
