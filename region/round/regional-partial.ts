// A region's partial: Σ examples·Δ of the included deltas, as an artifact. The same deltas give the
// same bytes, so making it again after a crash changes nothing.
import { createHash } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { type Partial$ as Partial, PartialSchema } from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import { sha256 } from "../../proto/ids.ts";
import { roundSum, sumWeighted } from "../../sync/aggregate/weighted-sum.ts";
import type { ArtifactStore } from "../../sync/artifact/artifact-store.ts";
import { encodeSafetensors, readSafetensors } from "../../sync/formats/safetensors.ts";
import { includedSeats, type RoundState } from "./round-state.ts";

export interface PartialStores {
  /** Where the deltas lie. */
  readonly deltas: ArtifactStore;
  /** Where the partial goes; what the region serves at /v1/artifacts. */
  readonly artifacts: ArtifactStore;
}

/** Sums the included deltas into an artifact. Requires at least one; memory of two models. */
export async function sumPartial(state: RoundState, stores: PartialStores): Promise<Partial> {
  const manifests = includedSeats(state).map(({ manifest }) => manifest!);
  const sum = await sumWeighted(
    manifests.map((manifest) => ({
      name: manifest.edge,
      weight: manifest.examples,
      load: () => readSafetensors(stores.deltas.path(sha256(manifest.delta!.sha256))).tensors,
    })),
  );
  const bytes = encodeSafetensors({ metadata: {}, tensors: roundSum(sum) });
  const digest = sha256(createHash("sha256").update(bytes).digest("hex"));
  await stores.artifacts.put(digest, bytes.length, chunksOf(bytes));
  const { campaign, round } = state.offer;
  const name = `${campaign}-${round}-partial.safetensors`;
  return create(PartialSchema, {
    artifact: { sha256: digest, bytes: BigInt(bytes.length), name },
    weight: sum.weight,
    count: sum.contributors.length,
    contributors: [...sum.contributors],
    rank: manifests[0]!.rank,
    alpha: manifests[0]!.alpha,
  });
}

async function* chunksOf(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  yield bytes;
}
