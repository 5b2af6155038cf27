// The best approximation of B·A of a lower rank, found in factored form: QR of both factors, then
// the SVD of the small core. The dense product of the two is never made.
import type { LoraFactors } from "./lora-aggregation.ts";
import { type Matrix, matrix, multiply, transpose } from "./matrix.ts";

/** One-sided Jacobi converges in a handful of sweeps; this bounds it. */
const SWEEPS_MAX = 60;
/** Columns count as orthogonal below this cosine. */
const ORTHOGONAL = 1e-15;
/** Part of a column's length below which the rest after projection is rounding, not direction. */
const DEPENDENT = 1e-12;

export interface TruncatedFactors extends LoraFactors {
  /** All singular values of the product, largest first. */
  readonly singularValues: readonly number[];
}

/** Truncates to at most `rank`; each singular value's root goes to either side. */
export function truncateRank({ b, a }: LoraFactors, rank: number): TruncatedFactors {
  const left = orthogonalize(b);
  const right = orthogonalize(transpose(a));
  const { u, values, v } = decompose(multiply(left.r, transpose(right.r)));
  const kept = Math.min(rank, values.length);
  const weigh = (columns: Matrix) => {
    const result = matrix(columns.rows, kept);
    for (let i = 0; i < columns.rows; i++) {
      for (let k = 0; k < kept; k++) {
        result.data[i * kept + k] = columns.data[i * columns.columns + k]! * Math.sqrt(values[k]!);
      }
    }
    return result;
  };
  return {
    b: weigh(multiply(left.q, u)),
    a: transpose(weigh(multiply(right.q, v))),
    singularValues: values,
  };
}

/** Gram-Schmidt, twice over for accuracy: x = q·r with orthonormal (or zero) columns in q. */
function orthogonalize(x: Matrix): { q: Matrix; r: Matrix } {
  const n = x.columns;
  const q = matrix(x.rows, n, x.data);
  const r = matrix(n, n);
  for (let j = 0; j < n; j++) {
    const length = Math.sqrt(columnProduct(q, j, j));
    for (let pass = 0; pass < 2; pass++) {
      for (let k = 0; k < j; k++) {
        const along = columnProduct(q, k, j);
        r.data[k * n + j]! += along;
        for (let i = 0; i < x.rows; i++) q.data[i * n + j]! -= along * q.data[i * n + k]!;
      }
    }
    const rest = Math.sqrt(columnProduct(q, j, j));
    const isNew = rest > DEPENDENT * length;
    r.data[j * n + j] = isNew ? rest : 0;
    for (let i = 0; i < x.rows; i++) {
      q.data[i * n + j] = isNew ? q.data[i * n + j]! / rest : 0;
    }
  }
  return { q, r };
}

/** SVD of a square matrix by one-sided Jacobi: columns of x·v made orthogonal pair by pair. */
function decompose(x: Matrix): { u: Matrix; values: readonly number[]; v: Matrix } {
  const n = x.columns;
  const u = matrix(x.rows, n, x.data);
  const v = matrix(n, n);
  for (let i = 0; i < n; i++) v.data[i * n + i] = 1;
  for (let sweep = 0; sweep < SWEEPS_MAX; sweep++) if (!rotateAll(u, v)) break;
  const lengths = Array.from({ length: n }, (_, j) => Math.sqrt(columnProduct(u, j, j)));
  const order = lengths.map((_, j) => j).sort((p, q) => lengths[q]! - lengths[p]!);
  const pick = (from: Matrix, divide: boolean) => {
    const result = matrix(from.rows, n);
    for (const [to, j] of order.entries()) {
      const by = divide ? lengths[j]! || 1 : 1;
      for (let i = 0; i < from.rows; i++) result.data[i * n + to] = from.data[i * n + j]! / by;
    }
    return result;
  };
  return { u: pick(u, true), values: order.map((j) => lengths[j]!), v: pick(v, false) };
}

function rotateAll(u: Matrix, v: Matrix): boolean {
  let rotated = false;
  for (let p = 0; p < u.columns; p++) {
    for (let q = p + 1; q < u.columns; q++) rotated = rotatePair(u, v, p, q) || rotated;
  }
  return rotated;
}

function rotatePair(u: Matrix, v: Matrix, p: number, q: number): boolean {
  const pp = columnProduct(u, p, p);
  const qq = columnProduct(u, q, q);
  const pq = columnProduct(u, p, q);
  if (Math.abs(pq) <= ORTHOGONAL * Math.sqrt(pp * qq)) return false;
  const zeta = (qq - pp) / (2 * pq);
  const tangent = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.sqrt(1 + zeta * zeta));
  const cosine = 1 / Math.sqrt(1 + tangent * tangent);
  const sine = cosine * tangent;
  for (const { rows, columns, data } of [u, v]) {
    for (let i = 0; i < rows; i++) {
      const x = data[i * columns + p]!;
      const y = data[i * columns + q]!;
      data[i * columns + p] = cosine * x - sine * y;
      data[i * columns + q] = sine * x + cosine * y;
    }
  }
  return true;
}

function columnProduct({ rows, columns, data }: Matrix, p: number, q: number): number {
  let total = 0;
  for (let i = 0; i < rows; i++) total += data[i * columns + p]! * data[i * columns + q]!;
  return total;
}
