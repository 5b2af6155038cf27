// The adapter that a campaign's first round starts from: only its seed decides it, so that all
// edges begin with the same numbers, whatever trainer they have.

import type { GgufFile } from "../../sync/formats/gguf-reader.ts";
import type { LoraAdapter, LoraModule } from "../../sync/formats/lora-adapter.ts";
import { seededRandom } from "../../sync/formats/seeded-random.ts";
import type { LinearModule } from "./llama-model.ts";

export interface InitialAdapterOptions {
  readonly rank: number;
  readonly alpha: number;
  readonly modules: readonly LinearModule[];
  readonly seed: number;
}

/** B = 0 and A ~ N(0, 1/inputs), matrix by matrix in the base's order. */
export function initialAdapter(base: GgufFile, options: InitialAdapterOptions): LoraAdapter {
  const { rank, alpha, seed } = options;
  const random = seededRandom(seed);
  const modules = new Map<string, LoraModule>();
  for (const { name, dimensions } of base.tensors.values()) {
    if (!options.modules.some((module) => name.endsWith(`.${module}.weight`))) continue;
    const [inputs = 1, outputs = 1] = dimensions;
    const deviation = 1 / Math.sqrt(inputs);
    const a = new Float32Array(rank * inputs);
    for (let i = 0; i < a.length; i++) a[i] = random.gauss() * deviation;
    modules.set(name, { rank, inputs, outputs, a, b: new Float32Array(outputs * rank) });
  }
  return { architecture: "llama", alpha, modules };
}
