// Which tensors, of which shapes, a delta of a round must have: those of the adapter state that
// the round starts from, or, in the first round, what the base and the parameters make of it.
import { Fault } from "../../proto/fault.ts";
import type { Artifact } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { RoundOffer } from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import { layoutOf, type TensorLayout } from "../../sync/delta/tensor-map.ts";
import { readGguf } from "../../sync/formats/gguf-reader.ts";
import { LINEAR_MODULES } from "../../sync/formats/linear-modules.ts";
import { readSafetensors } from "../../sync/formats/safetensors.ts";

export async function expectedLayout(
  offer: RoundOffer,
  fetchArtifact: (artifact: Artifact) => Promise<string>,
): Promise<TensorLayout> {
  if (offer.adapterState) {
    return layoutOf(readSafetensors(await fetchArtifact(offer.adapterState)).tensors);
  }
  const base = offer.version?.base;
  if (!base || !offer.params)
    throw new Fault("invalid-argument", "an offer without base or params");
  const { rank, targets } = offer.params;
  return loraLayout(await fetchArtifact(base), rank, targets);
}

/** The LoRA pairs on a base file. Shapes have the outermost dimension first, GGUF the innermost. */
function loraLayout(basePath: string, rank: number, targets: readonly string[]): TensorLayout {
  const modules: readonly string[] = targets.length > 0 ? targets : LINEAR_MODULES;
  const layout = new Map<string, readonly number[]>();
  for (const { name, dimensions } of readGguf(basePath).tensors.values()) {
    if (!modules.some((module) => name.endsWith(`.${module}.weight`))) continue;
    const [input = 1, output = 1] = dimensions;
    layout.set(`${name}.lora_a`, [rank, input]);
    layout.set(`${name}.lora_b`, [output, rank]);
  }
  return layout;
}
