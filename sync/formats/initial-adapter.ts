// The adapter that a campaign's first round starts from: only its seed decides it, so that all
// edges begin with the same numbers, whatever trainer they have, and whoever needs to know what
// training changed can make it again.

import type { GgufFile } from "./gguf-reader.ts";
import { LINEAR_MODULES } from "./linear-modules.ts";
import type { LoraAdapter, LoraModule } from "./lora-adapter.ts";
import { seededRandom } from "./seeded-random.ts";

export interface InitialAdapterOptions {
  readonly rank: number;
  readonly alpha: number;
  readonly modules: readonly string[];
  readonly seed: number;
}

/** B = 0 and A ~ N(0, 1/inputs), matrix by matrix in the base's order. */
export function initialAdapter(base: GgufFile, options: InitialAdapterOptions): LoraAdapter {
  const { rank, alpha, seed } = options;
  const random = seededRandom(seed);
  const wanted = options.modules.length > 0 ? options.modules : LINEAR_MODULES;
  const modules = new Map<string, LoraModule>();
  for (const { name, dimensions } of base.tensors.values()) {
    if (!wanted.some((module) => name.endsWith(`.${module}.weight`))) continue;
    const [inputs = 1, outputs = 1] = dimensions;
    const deviation = 1 / Math.sqrt(inputs);
    const a = new Float32Array(rank * inputs);
    for (let i = 0; i < a.length; i++) a[i] = random.gauss() * deviation;
    modules.set(name, { rank, inputs, outputs, a, b: new Float32Array(outputs * rank) });
  }
  return { architecture: "llama", alpha, modules };
}
