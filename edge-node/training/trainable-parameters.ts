// What a training run changes: LoRA pairs or whole weights, each with AdamW's two moments.

import { Fault } from "../../proto/fault.ts";
import type { GgufFile, GgufTensorInfo } from "../../sync/formats/gguf-reader.ts";
import type { LinearModule } from "../../sync/formats/linear-modules.ts";
import { elementCount, TensorType } from "../../sync/formats/tensor-type.ts";
import type { GgmlFunctions } from "./ggml-library.ts";
import { declareTensor, openContext, readFloats, writeTensor } from "./ggml-memory.ts";
import type { Tensor } from "./gradient-tape.ts";
import type { LoraPair } from "./llama-graph.ts";

/** Which numbers are trained. */
export type TrainingTarget =
  | {
      readonly kind: "lora";
      readonly rank: number;
      readonly alpha: number;
      readonly modules: readonly LinearModule[];
      /** A stays as it is, and only B is trained (FFA-LoRA). */
      readonly freezeA?: boolean;
      /** Only that many of the first components are trained; default: all of the rank. */
      readonly trainedRank?: number;
    }
  | { readonly kind: "full" };

/** One trained tensor and its moments. */
export interface TrainableParameter {
  readonly name: string;
  readonly dimensions: readonly number[];
  readonly value: Tensor;
  readonly firstMoment: Tensor;
  readonly secondMoment: Tensor;
  /** Where training began, for those that are drawn back to it. */
  readonly anchor: Tensor | null;
  /** Whether training changes it; a frozen one is read, written and saved like the rest. */
  readonly isTrained: boolean;
}

/** A parameter's numbers, for checkpoints. */
export interface ParameterState {
  readonly value: Float32Array;
  readonly firstMoment: Float32Array;
  readonly secondMoment: Float32Array;
}

/** Names of the components that are trained, and of those that stay as they are. */
export const TRAINED_FACTORS = [".lora_a", ".lora_b"] as const;
export const REST_FACTORS = [".rest_a", ".rest_b"] as const;

/** Every trained tensor, in a fixed order, and the adapters among them by their weight's name. */
export class TrainableParameters {
  readonly list: readonly TrainableParameter[];
  readonly adapters: ReadonlyMap<string, readonly LoraPair[]>;
  readonly byteLength: number;
  readonly #ggml: GgmlFunctions;
  readonly #context: bigint;
  readonly #buffer: bigint;

  constructor(
    ggml: GgmlFunctions,
    backend: bigint,
    file: GgufFile,
    weights: ReadonlyMap<string, Tensor>,
    target: TrainingTarget,
    withAnchors = false,
  ) {
    this.#ggml = ggml;
    this.#context = openContext(ggml, file.tensors.size * 16);
    const list: TrainableParameter[] = [];
    const adapters = new Map<string, readonly LoraPair[]>();
    const declare = (name: string, dimensions: readonly number[], existing?: Tensor) => {
      const fresh = () => declareTensor(ggml, this.#context, TensorType.f32, dimensions);
      const value = existing ?? fresh();
      const isTrained = target.kind === "full" || isTrainedFactor(name, target.freezeA ?? false);
      if (isTrained) ggml.ggml_set_param(value);
      const moments = { firstMoment: fresh(), secondMoment: fresh() };
      const anchor = withAnchors && isTrained ? fresh() : null;
      list.push({ name, dimensions, value, ...moments, anchor, isTrained });
      return value;
    };
    const declarePair = (weight: GgufTensorInfo, factors: readonly [string, string], r: number) => {
      const [input = 1, output = 1] = weight.dimensions;
      const a = declare(weight.name + factors[0], [input, r]);
      return { a, b: declare(weight.name + factors[1], [r, output]) };
    };
    for (const tensor of file.tensors.values()) {
      const { name, dimensions, type } = tensor;
      if (target.kind === "full") {
        if (type !== TensorType.f32) {
          throw new Fault(
            "unsupported",
            `training the weights themselves needs f32; ${name} has type ${type}`,
          );
        }
        declare(name, dimensions, weights.get(name));
      } else if (target.modules.some((module) => name.endsWith(`.${module}.weight`))) {
        const { rank, trainedRank = rank } = target;
        const rest = rank - trainedRank;
        const pairs = [declarePair(tensor, TRAINED_FACTORS, trainedRank)];
        if (rest > 0) pairs.push(declarePair(tensor, REST_FACTORS, rest));
        adapters.set(name, pairs);
      }
    }
    this.list = list;
    this.adapters = adapters;
    this.#buffer = ggml.ggml_backend_alloc_ctx_tensors(this.#context, backend);
    this.byteLength = ggml.ggml_backend_buffer_get_size(this.#buffer);
    ggml.ggml_backend_buffer_clear(this.#buffer, 0);
  }

  /** Those that training changes. */
  get trained(): readonly TrainableParameter[] {
    return this.list.filter(({ isTrained }) => isTrained);
  }

  /** Remembers the present values as those to stay near. */
  anchor(): void {
    for (const { value, anchor, dimensions } of this.list) {
      if (anchor === null) continue;
      writeTensor(this.#ggml, anchor, readFloats(this.#ggml, value, dimensions));
    }
  }

  count(): number {
    return this.list.reduce((sum, { dimensions }) => sum + elementCount(dimensions), 0);
  }

  read(name: string): ParameterState {
    const { dimensions, value, firstMoment, secondMoment } = this.#find(name);
    return {
      value: readFloats(this.#ggml, value, dimensions),
      firstMoment: readFloats(this.#ggml, firstMoment, dimensions),
      secondMoment: readFloats(this.#ggml, secondMoment, dimensions),
    };
  }

  /** Sets a parameter; without moments they become zero. Faults: failed-precondition. */
  write(name: string, state: Pick<ParameterState, "value"> & Partial<ParameterState>): void {
    const parameter = this.#find(name);
    const zeros = new Float32Array(elementCount(parameter.dimensions));
    const { value, firstMoment = zeros, secondMoment = zeros } = state;
    this.check(name, { value, firstMoment, secondMoment });
    writeTensor(this.#ggml, parameter.value, value);
    writeTensor(this.#ggml, parameter.firstMoment, firstMoment);
    writeTensor(this.#ggml, parameter.secondMoment, secondMoment);
  }

  /** Refuses what doesn't fit or isn't finite. Faults: failed-precondition. */
  check(name: string, { value, firstMoment, secondMoment }: ParameterState): void {
    const count = elementCount(this.#find(name).dimensions);
    for (const data of [value, firstMoment, secondMoment]) {
      if (data.length !== count || !data.every(Number.isFinite)) {
        throw new Fault(
          "failed-precondition",
          `${name}: ${data.length} numbers, ${count} finite ones are needed`,
        );
      }
    }
  }

  free(): void {
    this.#ggml.ggml_backend_buffer_free(this.#buffer);
    this.#ggml.ggml_free(this.#context);
  }

  #find(name: string): TrainableParameter {
    const found = this.list.find((parameter) => parameter.name === name);
    if (found) return found;
    throw new Fault("failed-precondition", `no trained tensor is named ${name}`);
  }
}

function isTrainedFactor(name: string, freezesA: boolean): boolean {
  const [a, b] = TRAINED_FACTORS;
  return name.endsWith(b) || (name.endsWith(a) && !freezesA);
}
