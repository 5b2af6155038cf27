// A region as the coordinator meets it: speaks the real messages over real NATS and serves real
// partials over HTTP, but its edges only pretend to train and to evaluate.
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  type DesiredState,
  DesiredStateSchema,
  ModelStatus,
  RegionSummarySchema,
  type VersionHealth,
} from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import {
  RebuildReplySchema,
  type RebuildRequest,
  RebuildRequestSchema,
} from "../../proto/gen/isthmus/v1/removal_pb.ts";
import {
  Bucket,
  type EvaluateCommand,
  EvaluateCommandSchema,
  EvaluateReplySchema,
  type RegionRoundStatus,
  RegionRoundStatusSchema,
  type RoundOffer,
  RoundOfferSchema,
} from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import { edgeId, regionId, type Sha256 } from "../../proto/ids.ts";
import { subjects } from "../../proto/subjects.ts";
import { systemClock } from "../../runtime/clock.ts";
import { type HttpServer, startHttpServer } from "../../runtime/http/server.ts";
import { silentLog } from "../../runtime/log.ts";
import { connectNats, type NatsLink } from "../../runtime/nats/connection.ts";
import { artifactRoutes } from "../../sync/artifact/artifact-routes.ts";
import { type ArtifactStore, createArtifactStore } from "../../sync/artifact/artifact-store.ts";
import { encodeSafetensors } from "../../sync/formats/safetensors.ts";
import { deltaWeight } from "../../sync/privacy/delta-weight.ts";

const SUMMARY_MS = 100;
const STATUS_MS = 200;
const WIDTH = 4;

export interface FakeRegionSetup {
  readonly region: string;
  readonly nats: readonly string[];
  readonly edges: readonly string[];
  /** Exact matches of 100 on the public set (`isPublic`) or the edge's own. */
  readonly evaluate: (version: string, isPublic: boolean, edge: string) => number;
}

export class FakeRegion {
  /** Hold every round open; let go with `release`. */
  isHeld = false;
  readonly offers: RoundOffer[] = [];
  readonly taken = new Set<string>();
  readonly rebuilds: RebuildRequest[] = [];
  readonly evaluations: EvaluateCommand[] = [];
  served = "";
  /** Every version that an edge tried by itself, in order: `<edge> <version>`. */
  readonly tried: string[] = [];
  /** What each edge tells of its versions. */
  health: (edge: string) => readonly VersionHealth[] = () => [];
  desired: DesiredState | undefined;
  desiredRevision = 0n;
  readonly #setup: FakeRegionSetup;
  readonly #nats: NatsLink;
  readonly #store: ArtifactStore;
  readonly #dir: string;
  readonly #open = new Map<string, RoundOffer>();
  #http!: HttpServer;
  #sequence = 0n;
  #timers: { cancel(): void }[] = [];

  private constructor(setup: FakeRegionSetup, nats: NatsLink) {
    this.#setup = setup;
    this.#nats = nats;
    this.#dir = mkdtempSync(join(tmpdir(), "isthmus-fake-region-"));
    this.#store = createArtifactStore({ dir: this.#dir });
  }

  static async start(setup: FakeRegionSetup): Promise<FakeRegion> {
    const nats = await connectNats({ servers: setup.nats, name: `region ${setup.region}` });
    const region = new FakeRegion(setup, nats);
    await region.#listen();
    return region;
  }

  get name(): string {
    return this.#setup.region;
  }

  async stop(): Promise<void> {
    for (const timer of this.#timers) timer.cancel();
    await this.#nats.close();
    await this.#http.stop();
    rmSync(this.#dir, { recursive: true, force: true });
  }

  release(): void {
    this.isHeld = false;
  }

  async #listen(): Promise<void> {
    const { region, edges } = this.#setup;
    const app = artifactRoutes(this.#store);
    this.#http = await startHttpServer({ host: "127.0.0.1", port: 0, app, log: silentLog() });
    const id = regionId(region);
    this.#nats.subscribe(subjects.desired, ({ body }) => {
      const desired = fromBinary(DesiredStateSchema, body);
      this.desired = desired;
      this.desiredRevision = desired.revision;
      for (const edge of edges) this.#noteTrial(edge);
      this.served = desired.models[0]?.version ?? "";
    });
    this.#nats.subscribe(subjects.roundOffer(id), async ({ body, respond }) => {
      const offer = fromBinary(RoundOfferSchema, body);
      this.offers.push(offer);
      const key = `${offer.campaign}/${offer.round}`;
      if (!this.taken.has(key)) this.#open.set(key, offer);
      respond?.(toBinary(RegionRoundStatusSchema, await this.#statusOf(offer)));
    });
    this.#nats.subscribe(subjects.roundTaken(id), ({ body, respond }) => {
      const offer = fromBinary(RoundOfferSchema, body);
      const key = `${offer.campaign}/${offer.round}`;
      this.taken.add(key);
      this.#open.delete(key);
      respond?.(new Uint8Array());
    });
    this.#nats.subscribe(subjects.roundRebuild(id), async ({ body, respond }) => {
      const request = fromBinary(RebuildRequestSchema, body);
      this.rebuilds.push(request);
      const reply = create(RebuildReplySchema, await this.#rebuild(request));
      respond?.(toBinary(RebuildReplySchema, reply));
    });
    for (const edge of edges) {
      this.#nats.subscribe(subjects.evaluate(id, edgeId(edge)), ({ body, respond }) => {
        const command = fromBinary(EvaluateCommandSchema, body);
        this.evaluations.push(command);
        const isPublic = command.dataset !== undefined;
        const exact = this.#setup.evaluate(command.version?.version ?? "", isPublic, edge);
        const dataset = isPublic ? "ignored" : `dialect-${region}`;
        const reply = { edge, region, dataset, examples: 100, exact };
        respond?.(toBinary(EvaluateReplySchema, create(EvaluateReplySchema, reply)));
      });
    }
    this.#timers = [
      systemClock.every(SUMMARY_MS, () => this.#summarize()),
      systemClock.every(STATUS_MS, () => void this.#tellAll()),
    ];
    await this.#nats.flush();
  }

  #summarize(): void {
    const { region, edges } = this.#setup;
    this.#sequence += 1n;
    const summary = create(RegionSummarySchema, {
      region,
      incarnation: 1n,
      sequence: this.#sequence,
      edges: edges.map((edge) => {
        const version = this.servedBy(edge);
        const [model = ""] = version.split("@");
        const models = [{ model, version, status: ModelStatus.READY, slots: 8 }];
        const health = [...this.health(edge)];
        return { edge, status: "ready", models: version === "" ? [] : models, health };
      }),
    });
    this.#nats.publish(subjects.summary(regionId(region)), toBinary(RegionSummarySchema, summary));
  }

  /** The version that an edge serves: the one it tries, or what all do. */
  servedBy(edge: string): string {
    const name = `${this.#setup.region}/${edge}`;
    const trial = this.desired?.trials.find(({ edges }) => edges.includes(name));
    return trial?.version?.version ?? this.served;
  }

  #noteTrial(edge: string): void {
    const version = this.servedBy(edge);
    const said = `${edge} ${version}`;
    if (version !== this.served && !this.tried.includes(said)) this.tried.push(said);
  }

  async #tellAll(): Promise<void> {
    for (const offer of this.#open.values()) {
      const body = toBinary(RegionRoundStatusSchema, await this.#statusOf(offer));
      this.#nats.publish(subjects.roundStatus(regionId(this.#setup.region)), body);
    }
  }

  async #statusOf(offer: RoundOffer): Promise<RegionRoundStatus> {
    const { campaign, round } = offer;
    const { region, edges } = this.#setup;
    const bucket = this.isHeld ? Bucket.TRAINING : Bucket.INCLUDED;
    const outcomes = edges.map((edge) => {
      return { edge, bucket, examples: 10, lossBefore: 2, lossAfter: 1, deltaBytes: 64n };
    });
    const http = `http://127.0.0.1:${this.#http.port}`;
    const status = { campaign, round, region, edges: outcomes, done: !this.isHeld, http };
    if (this.isHeld) return create(RegionRoundStatusSchema, status);
    const weight = deltaWeight(offer, { examples: 10 }) * edges.length;
    const artifact = await this.#storePartial(partialBytes(offer, weight, edges.length));
    const { rank = 1, alpha = 1 } = offer.params ?? {};
    const contributors = [...edges];
    const partial = { artifact, weight, count: edges.length, contributors, rank, alpha };
    return create(RegionRoundStatusSchema, { ...status, partial });
  }

  /** Every number of what is left of each delta is how many edges are left. */
  async #rebuild({ campaign, round, without }: RebuildRequest) {
    const { region, edges } = this.#setup;
    const offer = this.offers.find((one) => one.campaign === campaign && one.round === round);
    if (offer === undefined) return { region, reason: "it is kept no longer" };
    const contributors = edges.filter((edge) => !without.includes(edge));
    const http = `http://127.0.0.1:${this.#http.port}`;
    if (contributors.length === 0) return { region, http };
    const { length: count } = contributors;
    const weight = 10 * count;
    const artifact = await this.#storePartial(partialBytes(offer, weight, count));
    const { rank = 1, alpha = 1 } = offer.params ?? {};
    return { region, http, partial: { artifact, weight, count, contributors, rank, alpha } };
  }

  async #storePartial(bytes: Uint8Array) {
    const sha256 = createHash("sha256").update(bytes).digest("hex") as Sha256;
    await this.#store.put(sha256, bytes.length, ReadableStream.from([bytes]));
    return { sha256, bytes: BigInt(bytes.length), name: "partial.safetensors" };
  }
}

/** Σ weight·Δ, where every number of Δ is `value`. */
function partialBytes(offer: RoundOffer, weight: number, value: number): Uint8Array {
  const rank = offer.params?.rank ?? 1;
  const data = new Float32Array(rank * WIDTH).fill(weight * value);
  const metadata = { architecture: "llama", alpha: String(offer.params?.alpha ?? 1) };
  const tensors = new Map([
    ["blk.0.attn_q.weight.lora_a", { shape: [rank, WIDTH], data }],
    ["blk.0.attn_q.weight.lora_b", { shape: [WIDTH, rank], data }],
  ]);
  return encodeSafetensors({ metadata, tensors });
}
