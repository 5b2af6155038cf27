// Ways to aggregate LoRA updates W + s·B·A that come as factors. Averaging B and A separately
// (FedIT) isn't the average of the updates; stacking their ranks (FLoRA) is, exactly.
// Source: Wang et al., "FLoRA", arXiv 2409.05976; Zhang et al., "FedIT", arXiv 2305.05644.
import { Fault } from "../../proto/fault.ts";
import { type Matrix, matrix, multiply, scaled, sum } from "./matrix.ts";

/** One contributor's update of one weight. Shapes: B [out, r], A [r, in]. */
export interface LoraUpdate {
  /** Share of the whole; all shares together are 1. */
  readonly share: number;
  /** alpha / rank (alpha / √rank for rsLoRA). */
  readonly scale: number;
  readonly b: Matrix;
  readonly a: Matrix;
}

export interface LoraFactors {
  readonly b: Matrix;
  readonly a: Matrix;
}

/**
 * Σ share·s·B·A exactly, as B = [share₁s₁B₁ | share₂s₂B₂ …], A = [A₁; A₂; …]. The rank is the sum
 * of the ranks and the scale is folded in: serve it with alpha = rank.
 */
export function stackRanks(updates: readonly LoraUpdate[]): LoraFactors {
  const { out, into } = assertAlike(updates);
  const rank = updates.reduce((total, { a }) => total + a.rows, 0);
  const b = matrix(out, rank);
  const a = matrix(rank, into);
  let first = 0;
  for (const update of updates) {
    const factor = update.share * update.scale;
    for (let i = 0; i < out; i++) {
      for (let k = 0; k < update.a.rows; k++) {
        b.data[i * rank + first + k] = factor * update.b.data[i * update.a.rows + k]!;
      }
    }
    a.data.set(update.a.data, first * into);
    first += update.a.rows;
  }
  return { b, a };
}

/** FedIT: means of the factors. Requires equal ranks and scales; the scale isn't folded in. */
export function averageFactors(updates: readonly LoraUpdate[]): LoraFactors {
  assertAlike(updates);
  const [first, ...rest] = updates as readonly [LoraUpdate, ...LoraUpdate[]];
  for (const { a, scale } of rest) {
    if (a.rows !== first.a.rows || scale !== first.scale) {
      throw new Fault("invalid-argument", "only factors of one rank and scale can be averaged");
    }
  }
  return {
    b: updates.map(({ b, share }) => scaled(b, share)).reduce(sum),
    a: updates.map(({ a, share }) => scaled(a, share)).reduce(sum),
  };
}

/** The dense update that factors stand for; for tests and small models. */
export function denseUpdate({ b, a }: LoraFactors): Matrix {
  return multiply(b, a);
}

function assertAlike(updates: readonly LoraUpdate[]): { out: number; into: number } {
  const first = updates[0];
  if (!first) throw new Fault("invalid-argument", "nothing to aggregate");
  for (const { a, b } of updates) {
    if (a.columns !== first.a.columns || b.rows !== first.b.rows || a.rows !== b.columns) {
      throw new Fault("invalid-argument", "the factors don't belong to one weight");
    }
  }
  return { out: first.b.rows, into: first.a.columns };
}
