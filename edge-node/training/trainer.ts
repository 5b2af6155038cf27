// Trains a llama model's LoRA adapters, or the model itself, one batch a step.
//
// The whole step (forward, backward, clip, AdamW) is one static ggml graph, built once and
// replayed. On one machine the same state and batches give the same bits, with any number of
// threads; another instruction set gives other rounding.

import { Fault } from "../../proto/fault.ts";
import type { GgufFile } from "../../sync/formats/gguf-reader.ts";
import { TensorType } from "../../sync/formats/tensor-type.ts";
import { AdamwUpdate } from "./adamw-update.ts";
import { type LoadedWeights, loadWeights, type TransposedType } from "./frozen-weights.ts";
import { type GgmlFunctions, openGgml } from "./ggml-library.ts";
import { declareTensor, openContext, readFloats, writeTensor } from "./ggml-memory.ts";
import { GradientTape, type Tensor } from "./gradient-tape.ts";
import { type LlamaInputs, llamaLogits } from "./llama-graph.ts";
import { type LlamaShape, readLlamaShape } from "./llama-model.ts";
import { TrainableParameters, type TrainingTarget } from "./trainable-parameters.ts";
import { type TokenSequence, TrainingBatch } from "./training-batch.ts";

/** How a trainer is laid out; all of it is fixed once its graph is built. */
export interface TrainerOptions {
  readonly model: GgufFile;
  readonly target: TrainingTarget;
  /** Sequences a batch. */
  readonly sequences: number;
  /** Positions a sequence. */
  readonly positions: number;
  /** Tokens a batch that may carry a loss. */
  readonly supervised: number;
  readonly threads: number;
  readonly weightDecay: number;
  /** The learning rate of an adapter's A as a share of that of everything else; default 1. */
  readonly rateShareOfA?: number;
  /** The global gradient norm above which a step is scaled down. */
  readonly clipNorm: number;
  /** FedProx: the weight of half the squared distance from the anchor; default 0. */
  readonly proximal?: number;
  readonly transposedType: TransposedType;
}

const GRAPH_NODES_MAX = 16_384;
/** Gradients through f16 copies are scaled up on their way, or small ones vanish. */
const LORA_LOSS_SCALE = 1024;

/** The graph's inputs that are set by name. */
interface InputTensors extends LlamaInputs {
  readonly labels: Tensor;
  readonly lossSeed: Tensor;
}

export class Trainer {
  readonly shape: LlamaShape;
  readonly parameters: TrainableParameters;
  /** Memory of weights, trained tensors and intermediate results together. */
  readonly byteLength: number;
  readonly #ggml: GgmlFunctions;
  readonly #backend: bigint;
  readonly #options: TrainerOptions;
  readonly #weights: LoadedWeights;
  readonly #batch: TrainingBatch;
  readonly #inputs: InputTensors;
  readonly #update: AdamwUpdate;
  /** The whole step. The other two are its beginnings, so they run in its memory. */
  readonly #graph: bigint;
  readonly #lossGraph: bigint;
  readonly #gradientGraph: bigint;
  readonly #loss: Tensor;
  readonly #gradients: ReadonlyMap<Tensor, Tensor>;
  readonly #release: (() => void)[] = [];
  #updates = 0;

  /** Builds the graph. Faults: unsupported. */
  constructor(options: TrainerOptions) {
    this.shape = readLlamaShape(options.model);
    const library = openGgml();
    const ggml = library.functions;
    this.#ggml = ggml;
    this.#options = options;
    this.#backend = library.createCpuBackend(options.threads);
    const { model, target, sequences, positions, supervised } = options;
    const { vocabulary } = this.shape;
    this.#batch = new TrainingBatch({ sequences, positions, supervised, vocabulary });
    const copies = target.kind === "lora" ? options.transposedType : null;
    this.#weights = loadWeights(ggml, this.#backend, model, copies);
    const { weights } = this.#weights;
    const withAnchors = (options.proximal ?? 0) > 0;
    this.parameters = new TrainableParameters(
      ggml,
      this.#backend,
      model,
      weights,
      target,
      withAnchors,
    );
    this.#inputs = this.#declareInputs();
    const { weightDecay, clipNorm, rateShareOfA = 1 } = options;
    const update = { weightDecay, clipNorm, rateShareOfA, lossScale: this.#lossScale };
    this.#update = new AdamwUpdate(ggml, this.#backend, update);
    this.#release.push(() => this.#update.free());

    const context = openContext(ggml, GRAPH_NODES_MAX * 2, GRAPH_NODES_MAX * 3);
    const newGraph = () => ggml.ggml_new_graph_custom(context, GRAPH_NODES_MAX, false);
    this.#graph = newGraph();
    this.#lossGraph = newGraph();
    this.#gradientGraph = newGraph();
    this.#release.push(() => ggml.ggml_free(context));
    const { loss, gradients } = this.#buildGraph(context);
    this.#loss = loss;
    this.#gradients = gradients;
    this.byteLength =
      this.#weights.byteLength + this.parameters.byteLength + this.#allocate(this.#graph);
  }

  /** The optimizer steps taken; part of a checkpoint, as AdamW's bias correction counts them. */
  get updates(): number {
    return this.#updates;
  }

  set updates(count: number) {
    this.#updates = count;
  }

  /** Learns from one batch; returns its mean loss a supervised token, before the update. */
  step(sequences: readonly TokenSequence[], learningRate: number): number {
    this.#setBatch(sequences);
    this.#updates++;
    this.#update.setRate(learningRate, this.#updates);
    return this.#compute(this.#graph);
  }

  /** The mean loss a supervised token of a batch, without learning from it. */
  evaluate(sequences: readonly TokenSequence[]): number {
    this.#setBatch(sequences);
    return this.#compute(this.#lossGraph);
  }

  /** The gradient of a batch's mean loss (and FedProx's term), unclipped; changes no weight. */
  gradients(sequences: readonly TokenSequence[]): Map<string, Float32Array> {
    this.#setBatch(sequences);
    this.#compute(this.#gradientGraph);
    return new Map(
      this.parameters.trained.map(({ name, dimensions, value }) => {
        const gradient = readFloats(this.#ggml, this.#gradients.get(value) as Tensor, dimensions);
        return [name, gradient.map((x) => x / this.#lossScale)];
      }),
    );
  }

  /** Gives the memory back; the trainer must not be used afterwards. */
  free(): void {
    for (const release of this.#release.toReversed()) release();
    this.parameters.free();
    this.#weights.free();
    this.#ggml.ggml_backend_free(this.#backend);
  }

  get #lossScale(): number {
    return this.#options.target.kind === "lora" ? LORA_LOSS_SCALE : 1;
  }

  #declareInputs(): InputTensors {
    const { sequences, positions, supervised } = this.#options;
    const ggml = this.#ggml;
    const context = openContext(ggml, 16);
    const declare = (type: number, ...dimensions: number[]) =>
      declareTensor(ggml, context, type, dimensions);
    const inputs: InputTensors = {
      sequences,
      positions,
      supervised,
      tokens: declare(TensorType.i32, sequences * positions),
      positionIds: declare(TensorType.i32, positions),
      causalMask: declare(TensorType.f32, positions, positions),
      rows: declare(TensorType.i32, supervised),
      rowMask: declare(TensorType.f32, 1, supervised),
      labels: declare(TensorType.f32, this.shape.vocabulary, supervised),
      lossSeed: declare(TensorType.f32, 1),
    };
    const buffer = ggml.ggml_backend_alloc_ctx_tensors(context, this.#backend);
    this.#release.push(() => {
      ggml.ggml_backend_buffer_free(buffer);
      ggml.ggml_free(context);
    });
    writeTensor(
      ggml,
      inputs.positionIds,
      Int32Array.from({ length: positions }, (_, i) => i),
    );
    const mask = Float32Array.from({ length: positions * positions }, (_, i) =>
      i % positions > Math.floor(i / positions) ? Number.NEGATIVE_INFINITY : 0,
    );
    writeTensor(ggml, inputs.causalMask, mask);
    return inputs;
  }

  /** Records forward and backward pass, then clip and update, into the training graph. */
  #buildGraph(context: bigint) {
    const ggml = this.#ggml;
    const { target } = this.#options;
    const { list, adapters } = this.parameters;
    const { weights, transposed } = this.#weights;
    const tape = new GradientTape(ggml, context, transposed);
    const listed = new Set(list.map(({ value }) => value));
    for (const { name, dimensions } of this.#options.model.tensors.values()) {
      const weight = weights.get(name) as Tensor;
      if (!listed.has(weight)) tape.leaf(weight, dimensions);
    }
    for (const { value, dimensions, isTrained } of list) tape.leaf(value, dimensions, isTrained);
    tape.leaf(this.#inputs.rowMask, [1, this.#inputs.supervised]);

    const adapterScale = target.kind === "lora" ? target.alpha / target.rank : 1;
    const model = { weights, adapters, adapterScale };
    const logits = llamaLogits(tape, this.shape, model, this.#inputs);
    const loss = tape.crossEntropy(logits, this.#inputs.labels);
    ggml.ggml_set_loss(loss);
    ggml.ggml_set_output(loss);
    // Nodes run in the order of these calls, which makes each graph a beginning of the next.
    for (const graph of [this.#lossGraph, this.#gradientGraph, this.#graph]) {
      ggml.ggml_build_forward_expand(graph, loss);
    }
    const ofLoss = tape.backward(loss, this.#inputs.lossSeed);
    const gradients = this.#proximalGradients(context, ofLoss);
    for (const graph of [this.#gradientGraph, this.#graph]) {
      for (const gradient of gradients.values()) ggml.ggml_build_forward_expand(graph, gradient);
    }
    const gradientOf = (value: Tensor) => gradients.get(value) as Tensor;
    this.#update.build(context, this.#graph, this.parameters.trained, gradientOf);
    return { loss, gradients };
  }

  /**
   * The loss's gradients, and FedProx's: + proximal · (value − anchor).
   * Source: Li et al., "Federated Optimization in Heterogeneous Networks", arXiv 1812.06127.
   */
  #proximalGradients(c: bigint, ofLoss: ReadonlyMap<Tensor, Tensor>): ReadonlyMap<Tensor, Tensor> {
    const { ggml_add, ggml_scale, ggml_sub } = this.#ggml;
    const { proximal = 0 } = this.#options;
    const pairs = this.parameters.trained.map(({ value, anchor }): [Tensor, Tensor] => {
      const gradient = ofLoss.get(value) as Tensor;
      if (anchor === null) return [value, gradient];
      const pull = ggml_scale(c, ggml_sub(c, value, anchor), proximal * this.#lossScale);
      return [value, ggml_add(c, gradient, pull)];
    });
    return new Map(pairs);
  }

  #allocate(graph: bigint): number {
    const ggml = this.#ggml;
    const bufferType = ggml.ggml_backend_get_default_buffer_type(this.#backend);
    const allocator = ggml.ggml_gallocr_new(bufferType);
    this.#release.push(() => ggml.ggml_gallocr_free(allocator));
    if (!ggml.ggml_gallocr_alloc_graph(allocator, graph)) {
      throw new Fault(
        "invalid-argument",
        "not enough memory for the training graph; use fewer or shorter sequences a batch",
      );
    }
    return ggml.ggml_gallocr_get_buffer_size(allocator, 0);
  }

  #setBatch(sequences: readonly TokenSequence[]): void {
    this.#batch.fill(sequences);
    const { tokens, rows, rowMask, labels, size, supervisedCount } = this.#batch;
    const ggml = this.#ggml;
    writeTensor(ggml, this.#inputs.tokens, tokens);
    writeTensor(ggml, this.#inputs.rows, rows);
    writeTensor(ggml, this.#inputs.rowMask, rowMask);
    writeTensor(ggml, this.#inputs.labels, labels);
    // ggml's loss is a mean over all rows; the seed makes its gradient one over the used rows.
    const seed = (this.#lossScale * size.supervised) / supervisedCount;
    writeTensor(ggml, this.#inputs.lossSeed, Float32Array.of(seed));
  }

  #compute(graph: bigint): number {
    const status = this.#ggml.ggml_backend_graph_compute(this.#backend, graph);
    const [mean = Number.NaN] = readFloats(this.#ggml, this.#loss, [1]);
    const loss = (mean * this.#batch.size.supervised) / this.#batch.supervisedCount;
    if (status !== 0 || !Number.isFinite(loss)) {
      throw new Fault(
        "failed-precondition",
        `the loss isn't finite any more (status ${status}); lower the learning rate`,
      );
    }
    return loss;
  }
}
