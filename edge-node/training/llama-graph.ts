// The forward pass of a llama model with LoRA adapters, recorded on a gradient tape.

import type { GradientTape, RopeOptions, Tensor } from "./gradient-tape.ts";
import type { LlamaShape } from "./llama-model.ts";

/** A pair of low-rank matrices beside a frozen one: y += scale · B(A·x). */
export interface LoraPair {
  readonly a: Tensor;
  readonly b: Tensor;
}

/** What the graph reads: weights by GGUF name, adapters by the name of their weight. */
export interface LlamaWeights {
  readonly weights: ReadonlyMap<string, Tensor>;
  readonly adapters: ReadonlyMap<string, readonly LoraPair[]>;
  readonly adapterScale: number;
}

/** The inputs that change from batch to batch, and those that don't. */
export interface LlamaInputs {
  readonly sequences: number;
  readonly positions: number;
  readonly supervised: number;
  readonly tokens: Tensor;
  readonly positionIds: Tensor;
  /** Causal mask, [positions, positions]: 0 or −∞. */
  readonly causalMask: Tensor;
  readonly rows: Tensor;
  readonly rowMask: Tensor;
}

/** Records the pass up to the logits of the supervised rows, [vocabulary, supervised]. */
export function llamaLogits(
  tape: GradientTape,
  shape: LlamaShape,
  model: LlamaWeights,
  inputs: LlamaInputs,
): Tensor {
  const layer = new LayerRecorder(tape, shape, model, inputs);
  const tokenCount = inputs.sequences * inputs.positions;
  let x = tape.getRows(layer.weight("token_embd.weight"), inputs.tokens, tokenCount);
  for (let i = 0; i < shape.layers; i++) {
    x = tape.add(x, layer.attention(x, `blk.${i}.`));
    x = tape.add(x, layer.feedForward(x, `blk.${i}.`));
  }
  // The head costs as much as several layers, so it sees only rows that carry a loss. The unused
  // ones are masked here, in front of it: a row of zeros has no gradient to send back.
  x = tape.getRows(x, inputs.rows, inputs.supervised);
  x = tape.mul(layer.norm(x, "output_norm.weight"), inputs.rowMask);
  const head = shape.tiedOutput ? "token_embd.weight" : "output.weight";
  return tape.mulMat(layer.weight(head), x);
}

class LayerRecorder {
  readonly #tape: GradientTape;
  readonly #shape: LlamaShape;
  readonly #model: LlamaWeights;
  readonly #inputs: LlamaInputs;
  readonly #rope: RopeOptions;

  constructor(tape: GradientTape, shape: LlamaShape, model: LlamaWeights, inputs: LlamaInputs) {
    this.#tape = tape;
    this.#shape = shape;
    this.#model = model;
    this.#inputs = inputs;
    this.#rope = {
      dimensions: shape.ropeDimensions,
      mode: 0,
      originalContext: shape.contextTokens,
      frequencyBase: shape.ropeBase,
      frequencyScale: shape.ropeScale,
      factors: model.weights.get("rope_freqs.weight") ?? null,
    };
  }

  weight(name: string): Tensor {
    const tensor = this.#model.weights.get(name);
    if (tensor === undefined) throw new Error(`weight ${name} wasn't loaded`);
    return tensor;
  }

  norm(x: Tensor, name: string): Tensor {
    return this.#tape.mul(this.#tape.rmsNorm(x, this.#shape.normEpsilon), this.weight(name));
  }

  attention(x: Tensor, prefix: string): Tensor {
    const tape = this.#tape;
    const { heads, kvHeads, headSize } = this.#shape;
    const { positions, sequences, causalMask } = this.#inputs;
    const h = this.norm(x, `${prefix}attn_norm.weight`);
    // [head size, heads, positions, sequences]
    const split = (module: string, count: number) =>
      tape.reshape(
        this.#linear(`${prefix}${module}.weight`, h),
        headSize,
        count,
        positions,
        sequences,
      );
    const q = this.#rotated(split("attn_q", heads));
    const k = this.#rotated(split("attn_k", kvHeads));
    const v = tape.contiguous(tape.permute(split("attn_v", kvHeads), 1, 2, 0, 3));
    const scores = tape.softmax(tape.mulMat(k, q), causalMask, 1 / Math.sqrt(headSize));
    const mixed = tape.contiguous(tape.permute(tape.mulMat(v, scores), 0, 2, 1, 3));
    const joined = tape.reshape(mixed, headSize * heads, positions * sequences);
    return this.#linear(`${prefix}attn_output.weight`, joined);
  }

  feedForward(x: Tensor, prefix: string): Tensor {
    const h = this.norm(x, `${prefix}ffn_norm.weight`);
    const gate = this.#linear(`${prefix}ffn_gate.weight`, h);
    const up = this.#linear(`${prefix}ffn_up.weight`, h);
    return this.#linear(`${prefix}ffn_down.weight`, this.#tape.swiglu(gate, up));
  }

  /** Applies rotary positions, then puts positions in front of heads. */
  #rotated(x: Tensor): Tensor {
    const tape = this.#tape;
    const rotated = tape.rope(x, this.#inputs.positionIds, this.#rope);
    return tape.contiguous(tape.permute(rotated, 0, 2, 1, 3));
  }

  #linear(name: string, x: Tensor): Tensor {
    const tape = this.#tape;
    let y = tape.mulMat(this.weight(name), x);
    for (const { a, b } of this.#model.adapters.get(name) ?? []) {
      const low = tape.mulMat(b, tape.mulMat(a, x));
      y = tape.add(y, tape.scale(low, this.#model.adapterScale));
    }
    return y;
  }
}
