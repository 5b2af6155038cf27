// From the regions' partials to a version that can be served: the merged trainer state, the GGUF
// adapter made of it, and their place in the catalogue. The same partials give the same bytes, so
// that doing it again after a crash changes nothing.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { Fault } from "../../proto/fault.ts";
import type { Sha256 } from "../../proto/ids.ts";
import type { ArtifactStore } from "../../sync/artifact/artifact-store.ts";
import { hashFile } from "../../sync/artifact/artifact-upload.ts";
import { writeGgufAdapter } from "../../sync/formats/gguf-adapter.ts";
import { metadataString } from "../../sync/formats/gguf-metadata.ts";
import { readGguf } from "../../sync/formats/gguf-reader.ts";
import {
  encodeAdapterState,
  type LoraAdapter,
  modulesOf,
  requireFinite,
} from "../../sync/formats/lora-adapter.ts";
import { readSafetensors } from "../../sync/formats/safetensors.ts";
import type { ServerState } from "../../sync/strategy/server-optimizer.ts";
import { encodeServerState } from "../../sync/strategy/server-state.ts";
import type { Catalogue } from "../catalogue/catalogue.ts";
import type { ArtifactRef, TrainingState } from "../catalogue/model-record.ts";
import type { RoundPrivacy } from "../privacy/round-privacy.ts";
import type { CampaignState, RegionPartialRef, RoundState } from "./campaign-state.ts";
import { updateGlobal } from "./global-update.ts";
import { startState } from "./start-state.ts";

export interface AdapterMergeOptions {
  readonly catalogue: Catalogue;
  readonly artifacts: ArtifactStore;
  readonly privacy: RoundPrivacy;
  /** For the file being written. */
  readonly dir: string;
}

/** What a merge leaves in the artifact store. */
export interface MergedFiles {
  readonly training: TrainingState;
  /** As it is served. */
  readonly adapter: ArtifactRef;
  /** `<region>/<edge>`, sorted. */
  readonly contributors: readonly string[];
  readonly weight: number;
}

export interface MergedVersion {
  readonly version: string;
  readonly training: TrainingState;
  /** The next round's, when it moves. */
  readonly clip?: number;
}

interface PulledRegion {
  readonly region: string;
  readonly partial: RegionPartialRef;
}

/**
 * Merges the round under way.
 * Faults: `invalid-argument` when the partials don't fit the campaign or each other.
 */
export async function mergeRound(
  campaign: CampaignState,
  round: RoundState,
  options: AdapterMergeOptions,
): Promise<MergedVersion> {
  const start = options.catalogue.version(campaign.good.version);
  const name = `${campaign.id}-${round.number}`;
  const { training, adapter, ...by } = await mergeFiles(campaign, round, name, options);
  const { version } = options.catalogue.publish({
    model: campaign.model,
    base: start.base,
    adapters: [{ artifact: adapter, scale: 1 }],
    parent: start.version,
    training,
    origin: {
      kind: "round",
      campaign: campaign.id,
      round: round.number,
      contributors: [...by.contributors],
      weight: by.weight,
    },
  });
  const clip = options.privacy.nextClip(campaign, round);
  return { version: version.version, training, ...(clip === undefined ? {} : { clip }) };
}

/** Merges a round without telling the catalogue. */
export async function mergeFiles(
  campaign: CampaignState,
  round: RoundState,
  name: string,
  options: AdapterMergeOptions,
): Promise<MergedFiles> {
  const { artifacts } = options;
  const pulled = pulledRegions(campaign, round);
  const { adapter, memory } = await mergeAdapter(campaign, round, pulled, options);
  const state = await storeBytes(artifacts, encodeAdapterState(adapter), `${name}.safetensors`);
  const file = join(options.dir, `${name}.gguf.new`);
  writeGgufAdapter(file, adapter, { name });
  const artifact = await storeFile(artifacts, file, `${name}.gguf`);
  const { rank, alpha } = campaign.params;
  const optimizer =
    memory &&
    (await storeBytes(artifacts, encodeServerState(memory), `${name}-server.safetensors`));
  return {
    training: { state, rank, alpha, optimizer },
    adapter: artifact,
    contributors: pulled.flatMap(namesOf).sort(),
    weight: pulled.reduce((sum, { partial }) => sum + partial.weight, 0),
  };
}

async function mergeAdapter(
  campaign: CampaignState,
  round: RoundState,
  pulled: readonly PulledRegion[],
  options: AdapterMergeOptions,
): Promise<{ readonly adapter: LoraAdapter; readonly memory: ServerState | null }> {
  const { base } = options.catalogue.version(campaign.good.version);
  const path = (ref: ArtifactRef) => options.artifacts.path(ref.sha256 as Sha256);
  const from = await startState(campaign, options);
  const optimizer = campaign.good.training?.optimizer ?? null;
  const { tensors, memory } = await updateGlobal({
    ...{ campaign, round, privacy: options.privacy },
    start: from === null ? null : readSafetensors(path(from)).tensors,
    partials: pulled.map(({ region, partial }) => ({
      region,
      kind: partial.kind,
      weight: partial.weight,
      contributors: partial.contributors,
      load: () => readSafetensors(path(partial.artifact)).tensors,
    })),
    memoryPath: optimizer === null ? null : path(optimizer),
  });
  const architecture = metadataString(readGguf(path(base)).metadata, "general.architecture");
  if (architecture === undefined) {
    throw new Fault("invalid-argument", `${base.name} names no architecture`);
  }
  const { alpha } = campaign.params;
  const adapter = { architecture, alpha, modules: modulesOf(new Map(tensors), campaign.id) };
  requireFinite(adapter);
  return { adapter, memory };
}

/** Partials of other shapes than the campaign's would merge into nonsense. */
function pulledRegions(campaign: CampaignState, round: RoundState): PulledRegion[] {
  const { rank, alpha } = campaign.params;
  return round.regions.flatMap(({ region, phase, partial }) => {
    if (phase !== "pulled" || partial === null) return [];
    if (partial.rank !== rank || Math.abs(partial.alpha - alpha) > 1e-6 * alpha) {
      const found = `rank ${partial.rank}, alpha ${partial.alpha}`;
      throw new Fault("invalid-argument", `the partial of ${region} has ${found}`);
    }
    return [{ region, partial }];
  });
}

function namesOf({ region, partial }: PulledRegion): string[] {
  // `<edge>@<round>` is a late delta that an asynchronous round took over: the edge's all the same.
  const edges = partial.contributors.map((name) => name.replace(/@\d+$/, ""));
  return [...new Set(edges)].map((edge) => `${region}/${edge}`);
}

async function storeBytes(
  artifacts: ArtifactStore,
  bytes: Uint8Array,
  name: string,
): Promise<ArtifactRef> {
  const sha256 = createHash("sha256").update(bytes).digest("hex") as Sha256;
  await artifacts.put(sha256, bytes.length, ReadableStream.from([bytes]));
  return { sha256, bytes: bytes.length, name };
}

async function storeFile(
  artifacts: ArtifactStore,
  path: string,
  name: string,
): Promise<ArtifactRef> {
  try {
    const { sha256, bytes } = await hashFile(path);
    await artifacts.put(sha256, bytes, createReadStream(path));
    return { sha256, bytes, name };
  } finally {
    await rm(path, { force: true });
  }
}
