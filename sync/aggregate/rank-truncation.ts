// The best approximation of B·A of a lower rank, found in factored form: QR of both factors, then
// the SVD of the small core. The dense product of the two is never made.
import type { LoraFactors } from "./lora-aggregation.ts";
import { type Matrix, matrix, multiply, transpose } from "./matrix.ts";
import { rowBasis, rowOf, singularVectors } from "./singular-values.ts";

export interface TruncatedFactors extends LoraFactors {
  /** All singular values of the product, largest first. */
  readonly singularValues: readonly number[];
}

/** B·A = leftᵀ · diag(values) · right, the singular vectors as rows. */
export interface ProductSpectrum {
  readonly left: Matrix;
  readonly values: readonly number[];
  readonly right: Matrix;
}

/** The singular values and vectors of B·A, as many as B has columns. */
export function productSpectrum({ b, a }: LoraFactors): ProductSpectrum {
  const left = rowBasis(transpose(b));
  const right = rowBasis(a);
  // B = q_bᵀ·r_bᵀ and A = r_a·q_a, so the core is r_bᵀ·r_a.
  const core = singularVectors(multiply(transpose(left.r), right.r));
  return {
    left: multiply(core.left, left.q),
    values: core.values,
    right: multiply(core.right, right.q),
  };
}

/** Truncates to at most `rank`; each singular value's root goes to either side. */
export function truncateRank(factors: LoraFactors, rank: number): TruncatedFactors {
  const { left, values, right } = productSpectrum(factors);
  const kept = Math.min(rank, values.length);
  const weigh = (vectors: Matrix) => {
    const result = matrix(kept, vectors.columns);
    for (let k = 0; k < kept; k++) {
      const root = Math.sqrt(values[k]!);
      result.data.set(
        rowOf(vectors, k).map((value) => value * root),
        k * vectors.columns,
      );
    }
    return result;
  };
  return { b: transpose(weigh(left)), a: weigh(right), singularValues: values };
}
