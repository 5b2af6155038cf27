// The end of a training step: the gradients' global norm is bounded, then AdamW moves each tensor.

import { TensorType } from "../../sync/formats/tensor-type.ts";
import type { GgmlFunctions } from "./ggml-library.ts";
import { declareTensor, openContext, writeTensor } from "./ggml-memory.ts";
import type { Tensor } from "./gradient-tape.ts";
import type { TrainableParameter } from "./trainable-parameters.ts";

export interface AdamwOptions {
  readonly weightDecay: number;
  /** The learning rate of an adapter's A as a share of that of everything else. */
  readonly rateShareOfA: number;
  /** The global gradient norm above which a step is scaled down. */
  readonly clipNorm: number;
  /** By how much the gradients are too large. */
  readonly lossScale: number;
}

const FIRST_MOMENT_DECAY = 0.9;
const SECOND_MOMENT_DECAY = 0.99;
const ADAM_EPSILON = 1e-8;
/** What ggml_opt_step_adamw reads: rate, decays, epsilon, weight decay, bias corrections. */
const SETTINGS = 7;

export class AdamwUpdate {
  readonly #ggml: GgmlFunctions;
  readonly #options: AdamwOptions;
  readonly #context: bigint;
  readonly #buffer: bigint;
  readonly #settings: Tensor;
  /** The same for A's, which have a learning rate of their own. */
  readonly #settingsOfA: Tensor;
  readonly #clip: Tensor;

  constructor(ggml: GgmlFunctions, backend: bigint, options: AdamwOptions) {
    this.#ggml = ggml;
    this.#options = options;
    this.#context = openContext(ggml, 3);
    const declare = (count: number) => declareTensor(ggml, this.#context, TensorType.f32, [count]);
    this.#settings = declare(SETTINGS);
    this.#settingsOfA = declare(SETTINGS);
    this.#clip = declare(1);
    this.#buffer = ggml.ggml_backend_alloc_ctx_tensors(this.#context, backend);
    writeTensor(ggml, this.#clip, Float32Array.of(options.clipNorm * options.lossScale));
  }

  /** Adds gradient ← gradient · min(1, clip / norm) and the update to a graph. */
  build(
    c: bigint,
    graph: bigint,
    parameters: readonly TrainableParameter[],
    gradientOf: (value: Tensor) => Tensor,
  ): void {
    const ggml = this.#ggml;
    const squares = parameters.map(({ value }) =>
      ggml.ggml_sum(c, ggml.ggml_sqr(c, gradientOf(value))),
    );
    const norm = ggml.ggml_sqrt(
      c,
      squares.reduce((sum, square) => ggml.ggml_add(c, sum, square)),
    );
    const clipped = ggml.ggml_clamp(c, ggml.ggml_div(c, this.#clip, norm), 0, 1);
    const factor = ggml.ggml_scale(c, clipped, 1 / this.#options.lossScale);
    for (const { name, value, firstMoment, secondMoment } of parameters) {
      const gradient = ggml.ggml_mul(c, gradientOf(value), factor);
      const adam = name.endsWith(".lora_a") ? this.#settingsOfA : this.#settings;
      const update = ggml.ggml_opt_step_adamw(c, value, gradient, firstMoment, secondMoment, adam);
      ggml.ggml_build_forward_expand(graph, update);
    }
  }

  /** Sets the learning rate of the step that is the `updates`th, counted from 1. */
  setRate(learningRate: number, updates: number): void {
    const { weightDecay, rateShareOfA } = this.#options;
    const decays = [FIRST_MOMENT_DECAY, SECOND_MOMENT_DECAY];
    const corrections = decays.map((decay) => 1 / (1 - decay ** updates));
    const rest = [...decays, ADAM_EPSILON, weightDecay, ...corrections];
    const write = (tensor: Tensor, rate: number) =>
      writeTensor(this.#ggml, tensor, Float32Array.from([rate, ...rest]));
    write(this.#settings, learningRate);
    write(this.#settingsOfA, learningRate * rateShareOfA);
  }

  free(): void {
    this.#ggml.ggml_backend_buffer_free(this.#buffer);
    this.#ggml.ggml_free(this.#context);
  }
}
