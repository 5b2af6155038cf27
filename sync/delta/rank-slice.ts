// The first components of an adapter: what an edge of a lower rank than its campaign's trains.
// Shapes: A [rank, in], B [out, rank].
import type { SafeTensor } from "../formats/safetensors.ts";
import type { TensorLayout, TensorMap } from "./tensor-map.ts";

const SUFFIX_A = ".lora_a";
const SUFFIX_B = ".lora_b";

/** Rank of the adapter that a layout is of; 0 when it is of none. */
export function rankOfLayout(layout: TensorLayout): number {
  for (const [name, shape] of layout) if (name.endsWith(SUFFIX_A)) return shape[0] ?? 0;
  return 0;
}

/** The layout with every pair cut to a rank. */
export function layoutOfRank(layout: TensorLayout, rank: number): TensorLayout {
  return new Map([...layout].map(([name, shape]) => [name, shapeOfRank(name, shape, rank)]));
}

/** The adapter's first `rank` components. Requires a rank of at most the adapter's. */
export function firstComponents(tensors: TensorMap, rank: number): TensorMap {
  const cut = new Map<string, SafeTensor>();
  for (const [name, { shape, data }] of tensors) {
    const [rows = 0, columns = 0] = shapeOfRank(name, shape, rank);
    const width = shape[1] ?? 0;
    const kept = Float32Array.from({ length: rows * columns }, (_, i) => {
      return data[Math.floor(i / columns) * width + (i % columns)]!;
    });
    cut.set(name, { shape: [rows, columns], data: kept });
  }
  return cut;
}

/** Modules that a layout adapts, sorted, e.g. attn_q. */
export function modulesOfLayout(layout: TensorLayout): readonly string[] {
  const modules = new Set<string>();
  for (const name of layout.keys()) {
    const module = /(?:^|\.)([a-z0-9_]+)\.weight\.lora_[ab]$/.exec(name)?.[1];
    if (module !== undefined) modules.add(module);
  }
  return [...modules].sort();
}

function shapeOfRank(name: string, shape: readonly number[], rank: number): readonly number[] {
  if (name.endsWith(SUFFIX_A)) return [rank, shape[1] ?? 0];
  if (name.endsWith(SUFFIX_B)) return [shape[0] ?? 0, rank];
  return shape;
}
