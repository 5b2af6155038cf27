// Lengths of a tier's deltas and what lies between them: all that rules of selection look at.
// Tensor by tensor, so that memory holds one tensor of each member, not the members.
import type { Vector } from "./coordinate-rules.ts";

export class TierGeometry {
  readonly count: number;
  readonly #squared: Float64Array;
  readonly #products: Float64Array;

  constructor(count: number) {
    this.count = count;
    this.#squared = new Float64Array(count * count);
    this.#products = new Float64Array(count * count);
  }

  /** Of whole deltas, in one piece. */
  static of(vectors: readonly Vector[]): TierGeometry {
    const geometry = new TierGeometry(vectors.length);
    geometry.add(vectors);
    return geometry;
  }

  /** Of lengths alone, for rules that look at nothing else. */
  static ofNorms(norms: readonly number[]): TierGeometry {
    const geometry = new TierGeometry(norms.length);
    for (const [i, norm] of norms.entries()) {
      geometry.#products[i * norms.length + i] = norm * norm;
    }
    return geometry;
  }

  /** Takes in one tensor of every member, in the members' order. */
  add(tensors: readonly Vector[]): void {
    for (let i = 0; i < this.count; i++) {
      for (let j = i; j < this.count; j++) this.#addPair(i, j, tensors[i]!, tensors[j]!);
    }
  }

  /** ‖xᵢ − xⱼ‖², of the differences themselves: ‖x‖² + ‖y‖² − 2xy would cancel. */
  squaredDistance(i: number, j: number): number {
    return this.#squared[i < j ? i * this.count + j : j * this.count + i]!;
  }

  norm(i: number): number {
    return Math.sqrt(this.#products[i * this.count + i]!);
  }

  /** Cosine of the angle between two members; 0 when one is null. */
  cosine(i: number, j: number): number {
    const lengths = this.norm(i) * this.norm(j);
    const product = this.#products[i < j ? i * this.count + j : j * this.count + i]!;
    return lengths > 0 ? product / lengths : 0;
  }

  #addPair(i: number, j: number, x: Vector, y: Vector): void {
    let squared = 0;
    let product = 0;
    for (let k = 0; k < x.length; k++) {
      const difference = x[k]! - y[k]!;
      squared += difference * difference;
      product += x[k]! * y[k]!;
    }
    this.#squared[i * this.count + j]! += squared;
    this.#products[i * this.count + j]! += product;
  }
}
