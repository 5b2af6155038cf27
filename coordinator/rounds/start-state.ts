// The adapter state that a round starts from. The first one of a model is made here from the seed
// and told, so that a delta is nothing but what training changed: only that may count against a
// clip or a norm bound, tells how edges agree, and moves a server optimizer.
import { createHash } from "node:crypto";
import { Fault } from "../../proto/fault.ts";
import type { Sha256 } from "../../proto/ids.ts";
import type { ArtifactStore } from "../../sync/artifact/artifact-store.ts";
import { metadataString } from "../../sync/formats/gguf-metadata.ts";
import { readGguf } from "../../sync/formats/gguf-reader.ts";
import { initialAdapter } from "../../sync/formats/initial-adapter.ts";
import { encodeAdapterState } from "../../sync/formats/lora-adapter.ts";
import type { Catalogue } from "../catalogue/catalogue.ts";
import type { ArtifactRef } from "../catalogue/model-record.ts";
import type { CampaignState } from "./campaign-state.ts";

export interface StartStateOptions {
  readonly catalogue: Pick<Catalogue, "version">;
  readonly artifacts: ArtifactStore;
}

/** Null when the base has nothing to adapt. The same campaign gives the same bytes. */
export async function startState(
  { id, good, params }: CampaignState,
  { catalogue, artifacts }: StartStateOptions,
): Promise<ArtifactRef | null> {
  if (good.training !== null) return good.training.state;
  const base = readGguf(artifacts.path(catalogue.version(good.version).base.sha256 as Sha256));
  const architecture = metadataString(base.metadata, "general.architecture");
  if (architecture === undefined) throw new Fault("invalid-argument", "the base names no family");
  const { rank, alpha, targets: modules, seed } = params;
  const adapter = initialAdapter(base, { rank, alpha, modules, seed });
  if (adapter.modules.size === 0) return null;
  const bytes = encodeAdapterState({ ...adapter, architecture });
  const sha256 = createHash("sha256").update(bytes).digest("hex") as Sha256;
  await artifacts.put(sha256, bytes.length, ReadableStream.from([bytes]));
  return { sha256, bytes: bytes.length, name: `${id}-start.safetensors` };
}
