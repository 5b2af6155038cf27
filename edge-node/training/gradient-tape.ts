// Reverse-mode differentiation over ggml: every operation adds a node to ggml's graph and
// remembers how its gradient flows back; `backward` then adds the gradient's nodes.
//
// ggml has a backward pass of its own, but it is 2–8 times slower on quantized bases and aborts
// on grouped-query attention. The difference is mul_mat: the gradient to its input is again a
// mul_mat, by a transposed copy of the weights that is made once, which hits ggml's fast kernels.

import assert from "node:assert/strict";
import { TensorType } from "../../sync/formats/tensor-type.ts";
import type { GgmlFunctions } from "./ggml-library.ts";

/** A tensor of ggml's, by its address. */
export type Tensor = bigint;

/** ggml's shape: the row length first; absent dimensions are 1. */
export type Shape = readonly [number, number, number, number];

export function shapeOf(dimensions: readonly number[]): Shape {
  const [a = 1, b = 1, c = 1, d = 1] = dimensions;
  return [a, b, c, d];
}

/** How rotary positions are applied (ggml_rope_ext). */
export interface RopeOptions {
  readonly dimensions: number;
  readonly mode: number;
  readonly originalContext: number;
  readonly frequencyBase: number;
  readonly frequencyScale: number;
  /** Per-frequency factors (Llama 3), or null. */
  readonly factors: Tensor | null;
}

interface Step {
  readonly output: Tensor;
  backward(gradient: Tensor): void;
}

/** Below this many rows, an outer product beats two transposes and a mul_mat. */
const OUTER_PRODUCT_ROWS_MAX = 32;

export class GradientTape {
  readonly #ggml: GgmlFunctions;
  readonly #context: Tensor;
  /** Transposed copies of frozen weights, made at load. */
  readonly #transposedWeights: ReadonlyMap<Tensor, Tensor>;
  readonly #steps: Step[] = [];
  readonly #needsGradient = new Set<Tensor>();
  readonly #shapes = new Map<Tensor, Shape>();
  readonly #transposed = new Map<Tensor, Tensor>();
  readonly #gradients = new Map<Tensor, Tensor>();

  constructor(
    ggml: GgmlFunctions,
    context: Tensor,
    transposedWeights: ReadonlyMap<Tensor, Tensor> = new Map(),
  ) {
    this.#ggml = ggml;
    this.#context = context;
    this.#transposedWeights = transposedWeights;
  }

  /** Makes an existing tensor known. Only leaves with `gradient` are differentiated. */
  leaf(tensor: Tensor, dimensions: readonly number[], gradient = false): Tensor {
    this.#shapes.set(tensor, shapeOf(dimensions));
    if (gradient) this.#needsGradient.add(tensor);
    return tensor;
  }

  shape(tensor: Tensor): Shape {
    const shape = this.#shapes.get(tensor);
    assert(shape, "the tensor isn't on this tape");
    return shape;
  }

  /** y = W·x over the first dimension: [n, m] and [n, p, …] give [m, p, …]. */
  mulMat(weight: Tensor, input: Tensor): Tensor {
    const [, m] = this.shape(weight);
    const [, p, q, r] = this.shape(input);
    const output = this.#ggml.ggml_mul_mat(this.#context, weight, input);
    return this.#record(output, [m, p, q, r], [weight, input], (gradient) => {
      if (this.#needsGradient.has(input)) {
        const back = this.#transpose(weight);
        this.#add(input, this.#ggml.ggml_mul_mat(this.#context, back, this.#contiguous(gradient)));
      }
      if (this.#needsGradient.has(weight)) {
        this.#add(weight, this.#weightGradient(weight, input, gradient));
      }
    });
  }

  add(a: Tensor, b: Tensor): Tensor {
    const output = this.#ggml.ggml_add(this.#context, a, b);
    return this.#record(output, this.shape(a), [a, b], (gradient) => {
      if (this.#needsGradient.has(a)) this.#add(a, gradient);
      if (this.#needsGradient.has(b)) this.#add(b, gradient);
    });
  }

  scale(a: Tensor, factor: number): Tensor {
    const output = this.#ggml.ggml_scale(this.#context, a, factor);
    return this.#record(output, this.shape(a), [a], (gradient) => {
      this.#add(a, this.#ggml.ggml_scale(this.#context, gradient, factor));
    });
  }

  /** Elementwise product; w is repeated over a's further dimensions. */
  mul(a: Tensor, w: Tensor): Tensor {
    const { ggml_mul, ggml_repeat_back } = this.#ggml;
    const c = this.#context;
    return this.#record(ggml_mul(c, a, w), this.shape(a), [a, w], (gradient) => {
      if (this.#needsGradient.has(a)) this.#add(a, ggml_mul(c, gradient, w));
      if (this.#needsGradient.has(w)) {
        this.#add(w, ggml_repeat_back(c, ggml_mul(c, a, gradient), w));
      }
    });
  }

  rmsNorm(a: Tensor, epsilon: number): Tensor {
    const { ggml_rms_norm, ggml_rms_norm_back } = this.#ggml;
    const c = this.#context;
    return this.#record(ggml_rms_norm(c, a, epsilon), this.shape(a), [a], (gradient) => {
      this.#add(a, ggml_rms_norm_back(c, this.#contiguous(gradient), a, epsilon));
    });
  }

  rope(a: Tensor, positions: Tensor, options: RopeOptions): Tensor {
    const { ggml_rope_ext, ggml_rope_ext_back } = this.#ggml;
    const c = this.#context;
    const { dimensions, mode, originalContext, frequencyBase, frequencyScale, factors } = options;
    // YaRN stays off: extrapolation 0, attention 1, and its two (unused) betas at their defaults.
    const rest = [
      ...[dimensions, mode, originalContext],
      ...[frequencyBase, frequencyScale, 0, 1, 32, 1],
    ] as unknown as [number, number, number, number, number, number, number, number, number];
    const output = ggml_rope_ext(c, a, positions, factors, ...rest);
    return this.#record(output, this.shape(a), [a], (gradient) => {
      this.#add(a, ggml_rope_ext_back(c, this.#contiguous(gradient), positions, factors, ...rest));
    });
  }

  reshape(a: Tensor, ...dimensions: number[]): Tensor {
    const { ggml_reshape_4d } = this.#ggml;
    const c = this.#context;
    const from = this.shape(a);
    const to = shapeOf(dimensions);
    return this.#record(ggml_reshape_4d(c, a, ...to), to, [a], (gradient) => {
      this.#add(a, ggml_reshape_4d(c, this.#contiguous(gradient), ...from));
    });
  }

  /** Dimension i of a becomes dimension axes[i]. */
  permute(a: Tensor, ...axes: [number, number, number, number]): Tensor {
    const { ggml_permute } = this.#ggml;
    const from = this.shape(a);
    const to = [1, 1, 1, 1];
    const inverse: [number, number, number, number] = [0, 0, 0, 0];
    axes.forEach((axis, i) => {
      to[axis] = from[i as 0 | 1 | 2 | 3];
      inverse[axis] = i;
    });
    const output = ggml_permute(this.#context, a, ...axes);
    return this.#record(output, shapeOf(to), [a], (gradient) => {
      // The way back of "i goes to axes[i]" is "axes[i] goes to i".
      this.#add(a, ggml_permute(this.#context, gradient, ...inverse));
    });
  }

  contiguous(a: Tensor): Tensor {
    const output = this.#ggml.ggml_cont(this.#context, a);
    return this.#record(output, this.shape(a), [a], (gradient) => this.#add(a, gradient));
  }

  softmax(a: Tensor, mask: Tensor, scale: number): Tensor {
    const { ggml_soft_max_ext, ggml_soft_max_ext_back } = this.#ggml;
    const c = this.#context;
    const output = ggml_soft_max_ext(c, a, mask, scale, 0);
    return this.#record(output, this.shape(a), [a], (gradient) => {
      this.#add(a, ggml_soft_max_ext_back(c, this.#contiguous(gradient), output, scale, 0));
    });
  }

  /** silu(gate) · up. */
  swiglu(gate: Tensor, up: Tensor): Tensor {
    const { ggml_swiglu_split, ggml_silu_back, ggml_silu, ggml_mul } = this.#ggml;
    const c = this.#context;
    const output = ggml_swiglu_split(c, gate, up);
    return this.#record(output, this.shape(gate), [gate, up], (gradient) => {
      if (this.#needsGradient.has(gate)) {
        this.#add(gate, ggml_silu_back(c, ggml_mul(c, gradient, up), gate));
      }
      if (this.#needsGradient.has(up)) {
        this.#add(up, ggml_mul(c, ggml_silu(c, gate), gradient));
      }
    });
  }

  /** Picks `count` rows of a by their index. */
  getRows(a: Tensor, indices: Tensor, count: number): Tensor {
    const { ggml_get_rows, ggml_get_rows_back } = this.#ggml;
    const c = this.#context;
    const output = ggml_get_rows(c, a, indices);
    return this.#record(output, shapeOf([this.shape(a)[0], count]), [a], (gradient) => {
      this.#add(a, ggml_get_rows_back(c, this.#contiguous(gradient), indices, a));
    });
  }

  crossEntropy(logits: Tensor, labels: Tensor): Tensor {
    const { ggml_cross_entropy_loss, ggml_cross_entropy_loss_back } = this.#ggml;
    const c = this.#context;
    const output = ggml_cross_entropy_loss(c, logits, labels);
    return this.#record(output, shapeOf([1]), [logits], (gradient) => {
      this.#add(logits, ggml_cross_entropy_loss_back(c, gradient, logits, labels));
    });
  }

  /** Emits the gradients of every leaf that wants one; `seed` is dL/dL (or a loss scale). */
  backward(loss: Tensor, seed: Tensor): ReadonlyMap<Tensor, Tensor> {
    this.#gradients.set(loss, seed);
    for (const step of this.#steps.toReversed()) {
      const gradient = this.#gradients.get(step.output);
      if (gradient !== undefined) step.backward(gradient);
    }
    return this.#gradients;
  }

  /** dW = Σ x·gᵀ, in the cheapest of three ways; grouped heads are summed at the end. */
  #weightGradient(weight: Tensor, input: Tensor, gradient: Tensor): Tensor {
    const g = this.#ggml;
    const c = this.#context;
    const shape = this.shape(weight);
    const [n, m] = shape;
    const [, , q, r] = this.shape(input);
    const flat = q * r === 1;
    if (flat && m <= OUTER_PRODUCT_ROWS_MAX) return g.ggml_out_prod(c, input, gradient);
    if (flat && n <= OUTER_PRODUCT_ROWS_MAX) {
      return g.ggml_cont(c, g.ggml_transpose(c, g.ggml_out_prod(c, gradient, input)));
    }
    const whole = g.ggml_mul_mat(
      c,
      this.#transpose(input),
      this.#transpose(this.#contiguous(gradient)),
    );
    if (q === shape[2]) return whole;
    const repeats = q / shape[2];
    const grouped = g.ggml_reshape_4d(c, whole, n * m, repeats, shape[2], shape[3]);
    const like = g.ggml_new_tensor_4d(c, TensorType.f32, n * m, 1, shape[2], shape[3]);
    return g.ggml_reshape_4d(c, g.ggml_repeat_back(c, grouped, like), ...shape);
  }

  #contiguous(a: Tensor): Tensor {
    return this.#ggml.ggml_is_contiguous(a) ? a : this.#ggml.ggml_cont(this.#context, a);
  }

  #transpose(a: Tensor): Tensor {
    const known = this.#transposedWeights.get(a) ?? this.#transposed.get(a);
    if (known !== undefined) return known;
    const c = this.#context;
    const transposed = this.#ggml.ggml_cont(c, this.#ggml.ggml_transpose(c, a));
    this.#transposed.set(a, transposed);
    return transposed;
  }

  #record(
    output: Tensor,
    shape: Shape,
    inputs: readonly Tensor[],
    backward: (gradient: Tensor) => void,
  ): Tensor {
    this.#shapes.set(output, shape);
    if (inputs.some((input) => this.#needsGradient.has(input))) {
      this.#needsGradient.add(output);
      this.#steps.push({ output, backward });
    }
    return output;
  }

  #add(tensor: Tensor, gradient: Tensor): void {
    const sum = this.#gradients.get(tensor);
    this.#gradients.set(
      tensor,
      sum === undefined ? gradient : this.#ggml.ggml_add(this.#context, sum, gradient),
    );
  }
}
