// What a round would have given if A and B had been averaged each by itself (FedIT), from the very
// deltas that its edges handed in: read where the regions of a local mesh keep them.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fromJson, type JsonValue } from "@bufbuild/protobuf";
import type { VersionRecord } from "../../coordinator/catalogue/model-record.ts";
import type { MeshLayout } from "../../deploy/local/layout.ts";
import { RegionRoundStatusSchema } from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import { type Sha256, sha256 } from "../../proto/ids.ts";
import { createArtifactStore } from "../../sync/artifact/artifact-store.ts";
import { decodeAdapterState, type LoraAdapter } from "../../sync/formats/lora-adapter.ts";
import { readSafetensors } from "../../sync/formats/safetensors.ts";

type Layout = Pick<MeshLayout, "regions" | "shape">;

/** The adapter of a version, as training goes on from it; null before the first round. */
export function adapterStateOf(layout: Layout, version: VersionRecord): LoraAdapter | null {
  if (version.training === null) return null;
  const store = createArtifactStore({ dir: join(layout.shape.dir, "coordinator", "artifacts") });
  const path = store.path(version.training.state.sha256 as Sha256);
  return decodeAdapterState(readFileSync(path), path);
}

export interface AveragingOptions {
  /** What the edges trained from. */
  readonly start: LoraAdapter;
  /** How far to go towards the mean, and beyond it above 1. */
  readonly rate: number;
}

/** start + rate · Σ wΔ of each factor apart. Requires: f32 deltas that the regions still keep. */
export async function averageFactorsOf(
  layout: Layout,
  campaign: string,
  round: number,
  { start, rate }: AveragingOptions,
): Promise<LoraAdapter> {
  const deltas = (
    await Promise.all(
      layout.regions.map(({ name, http }) => deltasOf(layout, name, http, campaign, round)),
    )
  ).flat();
  const weight = deltas.reduce((sum, { examples }) => sum + examples, 0);
  const modules = new Map(
    [...start.modules].map(([name, module]) => {
      const averaged = (factor: "a" | "b") => {
        const sum = Float32Array.from(module[factor]);
        for (const { tensors, examples } of deltas) {
          const { data } = tensors.get(`${name}.lora_${factor}`)!;
          for (let i = 0; i < sum.length; i++) sum[i]! += rate * (examples / weight) * data[i]!;
        }
        return sum;
      };
      return [name, { ...module, a: averaged("a"), b: averaged("b") }];
    }),
  );
  return { ...start, modules };
}

async function deltasOf(
  layout: Layout,
  region: string,
  http: string,
  campaign: string,
  round: number,
) {
  const answer = await fetch(`${http}/v1/rounds/${campaign}/${round}`);
  if (!answer.ok) throw new Error(`${region} knows nothing of round ${round}: ${answer.status}`);
  const status = fromJson(RegionRoundStatusSchema, (await answer.json()) as JsonValue);
  const dir = join(layout.shape.dir, "regions", region, "rounds", "deltas");
  const store = createArtifactStore({ dir });
  return status.edges
    .filter(({ deltaSha256 }) => deltaSha256 !== "")
    .map(({ deltaSha256, examples }) => ({
      examples,
      tensors: readSafetensors(store.path(sha256(deltaSha256))).tensors,
    }));
}
