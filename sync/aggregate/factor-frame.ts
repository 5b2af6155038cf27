// Which of the many factor pairs with one product a model goes on with. B·A = (B·G)·(G⁻¹·A) for
// every invertible G, and it matters to what comes next: directions whose factors are both small
// hardly learn, and an optimizer's memory means something only while coordinates keep theirs.
//
// So A gets orthonormal rows times the length of the start's, as a fresh adapter has them, and B
// carries the singular values. Either the largest come first, which are what edges of a lower rank
// train; or all are turned as close to the start's A as they go (orthogonal Procrustes), so that a
// server optimizer finds its coordinates again.
import type { LoraFactors } from "./lora-aggregation.ts";
import { frobeniusNorm, type Matrix, matrix, multiply, scaled, transpose } from "./matrix.ts";
import type { ProductSpectrum } from "./rank-truncation.ts";
import { rowBasis, rowOf, singularVectors } from "./singular-values.ts";

export type FrameOrder = "largest-first" | "like-start";

/**
 * The leading `rank` directions of a product as factors of exactly that rank, near the start's.
 * Where the product has fewer, A keeps directions of the start and B is 0.
 */
export function frameFactors(
  { left, values, right }: ProductSpectrum,
  rank: number,
  start: LoraFactors,
  order: FrameOrder,
): LoraFactors {
  const frame = completeFrame(right, values, rank, start.a);
  const length = frobeniusNorm(start.a) / Math.sqrt(rank) || 1;
  const b = matrix(left.columns, rank);
  for (let k = 0; k < Math.min(rank, values.length); k++) {
    const direction = rowOf(left, k);
    const weight = values[k]! / length;
    for (let i = 0; i < direction.length; i++) b.data[i * rank + k] = direction[i]! * weight;
  }
  if (order === "largest-first") return { b, a: scaled(frame, length) };
  const turn = nearestRotation(multiply(start.a, transpose(frame)));
  return { b: multiply(b, transpose(turn)), a: scaled(multiply(turn, frame), length) };
}

/** Orthonormal rows: those that the product needs, then what the start adds, then any others. */
function completeFrame(
  right: Matrix,
  values: readonly number[],
  rank: number,
  startA: Matrix,
): Matrix {
  const rows: Float64Array[] = [];
  for (let k = 0; k < Math.min(rank, values.length); k++) {
    if (values[k]! > 0) rows.push(rowOf(right, k));
  }
  if (rows.length < rank) {
    for (let k = 0; k < startA.rows; k++) rows.push(rowOf(startA, k));
    for (let i = 0; i < Math.min(rank, startA.columns); i++) rows.push(unit(startA.columns, i));
  }
  const { q } = rowBasis(matrixOf(rows, startA.columns));
  const found = rows.map((_, k) => rowOf(q, k)).filter((row) => row.some((x) => x !== 0));
  const frame = matrix(rank, startA.columns);
  for (const [k, row] of found.slice(0, rank).entries()) frame.data.set(row, k * frame.columns);
  return frame;
}

/** The orthogonal matrix nearest to a square one; null directions are filled in. */
function nearestRotation(x: Matrix): Matrix {
  const { left, right } = singularVectors(x);
  const rows = Array.from({ length: x.rows }, (_, k) => rowOf(left, k));
  const units = rows.map((_, i) => unit(x.rows, i));
  const { q } = rowBasis(matrixOf([...rows, ...units], x.rows));
  const spare = units.map((_, i) => rowOf(q, x.rows + i)).filter((row) => row.some((v) => v !== 0));
  const whole = rows.map((row) => (row.some((v) => v !== 0) ? row : (spare.shift() ?? row)));
  return multiply(transpose(matrixOf(whole, x.rows)), right);
}

function unit(length: number, at: number): Float64Array {
  const row = new Float64Array(length);
  row[at] = 1;
  return row;
}

function matrixOf(rows: readonly Float64Array[], columns: number): Matrix {
  const result = matrix(rows.length, columns);
  for (const [k, row] of rows.entries()) result.data.set(row, k * columns);
  return result;
}
