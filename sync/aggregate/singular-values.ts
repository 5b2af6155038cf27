// Orthogonal bases and singular values of small dense matrices, in f64. Vectors are rows here, so
// that each lies in one piece of memory. Nothing but + − × ÷ and √, which IEEE 754 defines to the
// last bit: the same numbers give the same bits on every machine.
import { type Matrix, matrix } from "./matrix.ts";

/** One-sided Jacobi converges in a handful of sweeps; this bounds it. */
const SWEEPS_MAX = 60;
/** Vectors count as orthogonal below this cosine. */
const ORTHOGONAL = 1e-15;
/** Part of the largest vector's length below which one is rounding, not direction. */
const NEGLIGIBLE = 1e-14;
/** Part of a vector's length below which the rest after projection is rounding. */
const DEPENDENT = 1e-12;

/** x = r·q: q's rows are orthonormal, or 0 where x has no new direction; r is lower triangular. */
export interface RowBasis {
  readonly q: Matrix;
  readonly r: Matrix;
}

/** Gram-Schmidt on the rows, twice over for accuracy. */
export function rowBasis(x: Matrix): RowBasis {
  const n = x.rows;
  const q = matrix(n, x.columns, x.data);
  const r = matrix(n, n);
  for (let j = 0; j < n; j++) {
    const row = rowOf(q, j);
    const length = Math.sqrt(product(row, row));
    for (let pass = 0; pass < 2; pass++) {
      for (let k = 0; k < j; k++) {
        const other = rowOf(q, k);
        const along = product(other, row);
        r.data[j * n + k]! += along;
        if (along !== 0) addScaled(row, other, -1 * along);
      }
    }
    const rest = Math.sqrt(product(row, row));
    const isNew = rest > DEPENDENT * length;
    r.data[j * n + j] = isNew ? rest : 0;
    for (let i = 0; i < row.length; i++) row[i] = isNew ? row[i]! / rest : 0;
  }
  return { q, r };
}

/** x = Σ values[k] · left[k]ᵀ · right[k]; the rows of left and right are the singular vectors. */
export interface SingularVectors {
  readonly left: Matrix;
  /** Largest first. */
  readonly values: readonly number[];
  readonly right: Matrix;
}

/**
 * The singular values and vectors of a square matrix, by one-sided Jacobi. Where a value is 0, the
 * left vector is 0 too.
 */
export function singularVectors(x: Matrix): SingularVectors {
  const n = x.rows;
  // Row j of `turned` is column j of x·vᵀ's running product; row j of v is the right vector.
  const turned = matrix(n, n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) turned.data[j * n + i] = x.data[i * n + j]!;
  }
  const v = matrix(n, n);
  for (let i = 0; i < n; i++) v.data[i * n + i] = 1;
  for (let sweep = 0; sweep < SWEEPS_MAX; sweep++) if (!sweepAll(turned, v)) break;
  const lengths = lengthsOf(turned);
  const order = lengths.map((_, j) => j).sort((p, q) => lengths[q]! - lengths[p]! || p - q);
  const floor = NEGLIGIBLE * (lengths[order[0] ?? 0] ?? 0);
  const left = matrix(n, n);
  const right = matrix(n, n);
  for (const [to, j] of order.entries()) {
    right.data.set(rowOf(v, j), to * n);
    if (lengths[j]! <= floor) continue;
    left.data.set(
      rowOf(turned, j).map((value) => value / lengths[j]!),
      to * n,
    );
  }
  return { left, values: order.map((j) => lengths[j]!), right };
}

/** One pass over all pairs; false when every pair was orthogonal already. */
function sweepAll(turned: Matrix, v: Matrix): boolean {
  const lengths = lengthsOf(turned);
  const floor = NEGLIGIBLE * Math.max(0, ...lengths);
  let rotated = false;
  for (let p = 0; p < turned.rows; p++) {
    const first = rowOf(turned, p);
    if (lengths[p]! <= floor) continue;
    for (let q = p + 1; q < turned.rows; q++) {
      const second = rowOf(turned, q);
      if (lengths[q]! <= floor || !rotate(first, second, rowOf(v, p), rowOf(v, q))) continue;
      lengths[p] = Math.sqrt(product(first, first));
      lengths[q] = Math.sqrt(product(second, second));
      rotated = true;
    }
  }
  return rotated;
}

function rotate(x: Float64Array, y: Float64Array, vx: Float64Array, vy: Float64Array): boolean {
  const xx = product(x, x);
  const yy = product(y, y);
  const xy = product(x, y);
  if (Math.abs(xy) <= ORTHOGONAL * Math.sqrt(xx * yy)) return false;
  const zeta = (yy - xx) / (2 * xy);
  const tangent = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.sqrt(1 + zeta * zeta));
  const cosine = 1 / Math.sqrt(1 + tangent * tangent);
  const sine = cosine * tangent;
  for (const [p, q] of [
    [x, y],
    [vx, vy],
  ] as const) {
    for (let i = 0; i < p.length; i++) {
      const a = p[i]!;
      const b = q[i]!;
      p[i] = cosine * a - sine * b;
      q[i] = sine * a + cosine * b;
    }
  }
  return true;
}

/** A view of one row; writing to it writes to the matrix. */
export function rowOf({ data, columns }: Matrix, row: number): Float64Array {
  return data.subarray(row * columns, (row + 1) * columns);
}

function lengthsOf(x: Matrix): number[] {
  return Array.from({ length: x.rows }, (_, j) => Math.sqrt(product(rowOf(x, j), rowOf(x, j))));
}

function product(x: Float64Array, y: Float64Array): number {
  let total = 0;
  for (let i = 0; i < x.length; i++) total += x[i]! * y[i]!;
  return total;
}

function addScaled(x: Float64Array, y: Float64Array, factor: number): void {
  for (let i = 0; i < x.length; i++) x[i]! += factor * y[i]!;
}
