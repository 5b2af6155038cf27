// What tests of regional rounds share: offers, signed deltas, and a region's rounds behind real
// NATS and HTTP.
import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { create, type MessageInitShape, toBinary, toJson } from "@bufbuild/protobuf";
import type { Artifact } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import {
  type DeltaManifest,
  DeltaManifestSchema,
  type RoundOffer,
  RoundOfferSchema,
  TrainReplySchema,
} from "../../../proto/gen/isthmus/v1/rounds_pb.ts";
import { edgeId, type RegionId, regionId } from "../../../proto/ids.ts";
import { subjects } from "../../../proto/subjects.ts";
import { createRegionRounds, type RegionRounds } from "../../../region/round/region-rounds.ts";
import type { RoundMember } from "../../../region/round/round-candidates.ts";
import { roundRoutes } from "../../../region/round/round-routes.ts";
import { systemClock } from "../../../runtime/clock.ts";
import { startHttpServer } from "../../../runtime/http/server.ts";
import { silentLog } from "../../../runtime/log.ts";
import { createMetrics, type Metrics } from "../../../runtime/metrics.ts";
import type { NatsLink } from "../../../runtime/nats/connection.ts";
import { type ArtifactStore, createArtifactStore } from "../../../sync/artifact/artifact-store.ts";
import { cutChunks } from "../../../sync/delta/chunks.ts";
import { encodeDelta } from "../../../sync/delta/codec/delta-encoder.ts";
import {
  type CodecFormat,
  formatToWire,
  plainFormat,
} from "../../../sync/delta/codec/delta-format.ts";
import { type DeltaStatement, signManifest } from "../../../sync/delta/delta-manifest.ts";
import { modulesOfLayout } from "../../../sync/delta/rank-slice.ts";
import type { SigningKey } from "../../../sync/delta/signing-key.ts";
import { layoutOf, normOf, type TensorMap } from "../../../sync/delta/tensor-map.ts";
import { encodeSafetensors } from "../../../sync/formats/safetensors.ts";
import { seededRandom } from "../../../sync/formats/seeded-random.ts";

export const RANK = 2;
export const ALPHA = 4;
export const MODEL = "commands";

export const hashOf = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** A LoRA pair full of numbers that only the seed decides. */
export function adapterOf(seed: number): TensorMap {
  const random = seededRandom(seed);
  const numbers = (count: number) => Float32Array.from({ length: count }, () => random.gauss());
  return new Map([
    ["blk.0.attn_q.weight.lora_a", { shape: [RANK, 6], data: numbers(RANK * 6) }],
    ["blk.0.attn_q.weight.lora_b", { shape: [4, RANK], data: numbers(4 * RANK) }],
  ]);
}

export const bytesOf = (tensors: TensorMap) => encodeSafetensors({ metadata: {}, tensors });

export const START = bytesOf(adapterOf(0));
const BASE_SHA256 = "b".repeat(64);

export function offerOf(
  change: Omit<MessageInitShape<typeof RoundOfferSchema>, "$typeName"> = {},
): RoundOffer {
  return create(RoundOfferSchema, {
    campaign: "c-1",
    round: 1,
    model: MODEL,
    version: { model: MODEL, version: `${MODEL}@1`, base: { sha256: BASE_SHA256, bytes: 1n } },
    adapterState: { sha256: hashOf(START), bytes: BigInt(START.length), name: "state" },
    params: { rank: RANK, alpha: ALPHA, steps: 2, normMax: 100 },
    deadlineMs: BigInt(systemClock.now() + 60_000),
    quorum: 1,
    ...change,
  });
}

export interface SignedDelta {
  readonly manifest: DeltaManifest;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** Small, so that a small delta has several. */
export const CHUNK_BYTES = 64;

/** A delta for an offer, sound unless `change` says otherwise. */
export function signedDelta(
  offer: RoundOffer,
  edge: string,
  key: SigningKey,
  tensors: TensorMap,
  change: Partial<DeltaStatement> = {},
  format: CodecFormat = plainFormat,
): SignedDelta {
  const bytes = Uint8Array.from(encodeDelta(tensors, format));
  const statement: DeltaStatement = {
    campaign: offer.campaign,
    round: offer.round,
    region: "us",
    edge,
    model: offer.model,
    baseSha256: offer.version!.base!.sha256,
    startSha256: offer.adapterState?.sha256 ?? "",
    rank: RANK,
    alpha: ALPHA,
    examples: 10,
    norm: normOf(tensors),
    delta: { sha256: hashOf(bytes), bytes: BigInt(bytes.length), name: "delta" },
    format: formatToWire(format),
    chunkBytes: CHUNK_BYTES,
    chunkSha256: [...cutChunks(bytes, CHUNK_BYTES).hashes],
    targets: [...modulesOfLayout(layoutOf(tensors))],
    ...change,
  };
  return { manifest: signManifest(statement, key), bytes };
}

/** What an edge says of a delta, for tests that look at nothing else of it; unsigned. */
export const manifestOf = (edge: string): DeltaManifest =>
  create(DeltaManifestSchema, { edge, examples: 10, delta: { sha256: hashOf(Buffer.from(edge)) } });

/** In the place of these edges, says yes to whatever they are told to train. */
export function acceptTraining(nats: NatsLink, region: RegionId, edges: readonly string[]): void {
  const accepted = toBinary(TrainReplySchema, create(TrainReplySchema, { accepted: true }));
  for (const edge of edges) {
    nats.subscribe(subjects.train(region, edgeId(edge)), ({ respond }) => respond?.(accepted));
  }
}

export interface RunningRegion {
  readonly rounds: RegionRounds;
  readonly store: ArtifactStore;
  readonly http: string;
  readonly metrics: Metrics;
  stop(): Promise<void>;
}

/** A region's rounds on real NATS and HTTP; its artifacts are `files`, by hash. */
export async function startRegion(
  dir: string,
  nats: NatsLink,
  members: () => readonly RoundMember[],
  files: ReadonlyMap<string, Uint8Array> = new Map([[hashOf(START), START]]),
  /** What stands between edges and this region: gets its address, gives the one to announce. */
  via: (http: string) => Promise<string> = async (http) => http,
): Promise<RunningRegion> {
  const region = regionId("us");
  const store = createArtifactStore({ dir: join(dir, "artifacts") });
  let address = "";
  const http = () => address;
  const fetchArtifact = async ({ sha256 }: Artifact) => {
    const path = join(dir, `artifact-${sha256}`);
    mkdirSync(dir, { recursive: true });
    writeFileSync(path, files.get(sha256)!);
    return path;
  };
  const metrics = createMetrics({ role: "region" });
  const rounds = await createRegionRounds({
    region,
    dir: join(dir, "rounds"),
    nats,
    members,
    store,
    fetchArtifact,
    http,
    clock: systemClock,
    log: silentLog(),
    metrics,
  });
  const app = roundRoutes(() => rounds, { region, http });
  const server = await startHttpServer({ host: "127.0.0.1", port: 0, app, log: silentLog() });
  address = await via(`http://127.0.0.1:${server.port}`);
  const stop = async () => {
    await server.stop();
    await rounds.stop();
  };
  return { rounds, store, http: address, metrics, stop };
}

export interface HttpAnswer {
  readonly code: number;
  readonly status: string;
  readonly reason: string;
  readonly received: number;
}

async function send(url: string, init: RequestInit): Promise<HttpAnswer> {
  const response = await fetch(url, init);
  return { code: response.status, ...((await response.json()) as Omit<HttpAnswer, "code">) };
}

export const deltaUrl = (http: string, { campaign, round, edge }: DeltaManifest) =>
  `${http}/v1/rounds/${campaign}/${round}/deltas/${edge}`;

export function putManifest(http: string, manifest: DeltaManifest): Promise<HttpAnswer> {
  const body = JSON.stringify(toJson(DeltaManifestSchema, manifest));
  return send(`${deltaUrl(http, manifest)}/manifest`, { method: "PUT", body });
}

export function putPiece(
  http: string,
  { manifest, bytes }: SignedDelta,
  from = 0,
  to = bytes.length,
): Promise<HttpAnswer> {
  const headers = { "content-range": `bytes ${from}-${to - 1}/${bytes.length}` };
  const body = bytes.slice(from, to);
  return send(deltaUrl(http, manifest), { method: "PUT", body, headers });
}

/** Manifest and bytes; the last answer. */
export async function handIn(http: string, delta: SignedDelta): Promise<HttpAnswer> {
  const answer = await putManifest(http, delta.manifest);
  return answer.status === "receiving" ? await putPiece(http, delta, answer.received) : answer;
}
