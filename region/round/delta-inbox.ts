// Takes deltas in: first the signed manifest, then the bytes. A delta is acknowledged once its
// bytes are on disk and the round's log says that it is included.
import { createHash } from "node:crypto";
import { join } from "node:path";
import { Fault } from "../../proto/fault.ts";
import type { Artifact } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { DeltaManifest, RoundOffer } from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import { type RegionId, sha256, sha256Pattern } from "../../proto/ids.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { ArtifactStore } from "../../sync/artifact/artifact-store.ts";
import type { ContentRange } from "../../sync/artifact/byte-range.ts";
import { formatFromWire, formatOfRound } from "../../sync/delta/codec/delta-format.ts";
import { type DeltaContents, scanDelta } from "../../sync/delta/codec/delta-numbers.ts";
import { isManifestSigned } from "../../sync/delta/delta-manifest.ts";
import { screenMasked } from "../../sync/delta/masked-screening.ts";
import { layoutOfRank } from "../../sync/delta/rank-slice.ts";
import {
  type DeltaExpectation,
  type Objection,
  screenDelta,
  screenManifest,
} from "../../sync/delta/screening.ts";
import type { TensorLayout } from "../../sync/delta/tensor-map.ts";
import { answer, type DeltaAnswer, reasonOf, receiving } from "./delta-answer.ts";
import { expectedLayout } from "./expected-layout.ts";
import { IncomingDelta, type Reception } from "./incoming-delta.ts";
import { incomingFile } from "./incoming-file.ts";
import type { KeyPins } from "./key-pins.ts";
import { admitDelta } from "./round-decision.ts";
import type { RoundRunner } from "./round-runner.ts";

/** Damaged chunks of one edge in one round before its delta is quarantined. */
export const BAD_CHUNKS_MAX = 8;

export interface DeltaInboxOptions {
  readonly region: RegionId;
  readonly deltas: ArtifactStore;
  /** Folder for deltas on their way, on the disk of `deltas`. */
  readonly incomingDir: string;
  /** Of the process that takes the deltas in; none but it writes the files of its epoch. */
  readonly epoch?: number;
  readonly pins: KeyPins;
  readonly clock: Clock;
  readonly fetchArtifact: (artifact: Artifact) => Promise<string>;
  readonly onObjection: (edge: string, objection: Objection) => void;
  readonly onBadChunk: (edge: string) => void;
  /** Told of files being let go of once a round runs no more. */
  readonly onLeft: (done: Promise<void>) => void;
}

/** Who sends what in a round. */
interface Arrivals {
  /** Deltas whose manifests passed, by edge. */
  readonly incoming: Map<string, IncomingDelta>;
  readonly badChunks: Map<string, number>;
}

export class DeltaInbox {
  readonly #options: DeltaInboxOptions;
  /** Lost in a crash: the edge sends its manifest again. */
  readonly #arrivals = new WeakMap<RoundRunner, Arrivals>();
  readonly #layouts = new WeakMap<RoundRunner, Promise<TensorLayout>>();

  constructor(options: DeltaInboxOptions) {
    this.#options = options;
  }

  /** Screens the manifest, and finishes at once when the bytes are here already. */
  async takeManifest(
    runner: RoundRunner,
    edge: string,
    manifest: DeltaManifest,
  ): Promise<DeltaAnswer> {
    const refused = this.#admit(runner, edge, manifest.delta?.sha256 ?? "");
    if (refused?.status === "late") await this.#noteLate(runner, edge, manifest);
    if (refused) return refused;
    const objection =
      screenManifest(manifest, await this.#expectation(runner, edge)) ??
      (await this.#pin(edge, manifest));
    if (objection) return await this.#object(runner, edge, manifest, objection);
    const { incoming } = this.#arrivalsOf(runner);
    await incoming.get(edge)?.close();
    const { incomingDir, epoch = 0 } = this.#options;
    const path = await incomingFile(join(incomingDir, fileNameOf(manifest)), epoch);
    const delta = new IncomingDelta(manifest, this.#options.deltas, path);
    incoming.set(edge, delta);
    if (delta.isWhole) return await this.#finish(runner, edge, delta);
    return this.#receiving(runner, edge, delta, await delta.received());
  }

  /** Takes a piece of the bytes; with the last one the delta is screened and included. */
  async takePiece(
    runner: RoundRunner,
    edge: string,
    piece: ContentRange,
    body: ReadableStream<Uint8Array> | null,
  ): Promise<DeltaAnswer> {
    const delta = this.#arrivalsOf(runner).incoming.get(edge);
    const refused = this.#admit(runner, edge, delta?.sha256 ?? "");
    if (refused) return refused;
    if (!delta) return answer("manifest-first", "send the manifest first");
    return await this.#answer(runner, edge, delta, await delta.receive(piece, body));
  }

  async #answer(
    runner: RoundRunner,
    edge: string,
    delta: IncomingDelta,
    reception: Reception,
  ): Promise<DeltaAnswer> {
    switch (reception.kind) {
      case "whole":
        return await this.#finish(runner, edge, delta);
      case "partial":
        return this.#receiving(runner, edge, delta, reception.received);
      case "misplaced": {
        const { received } = reception;
        return { ...receiving(delta, received), status: "offset", reason: "go on at `received`" };
      }
      case "bad-chunk":
        return await this.#onBadChunk(runner, edge, delta, reception);
      case "corrupt":
        return await this.#object(runner, edge, delta.manifest, damaged("the bytes"));
    }
  }

  /** A damaged chunk comes again; too many of them, and somebody means it. */
  async #onBadChunk(
    runner: RoundRunner,
    edge: string,
    delta: IncomingDelta,
    { chunk, received }: Extract<Reception, { readonly kind: "bad-chunk" }>,
  ): Promise<DeltaAnswer> {
    const { badChunks } = this.#arrivalsOf(runner);
    const count = (badChunks.get(edge) ?? 0) + 1;
    badChunks.set(edge, count);
    this.#options.onBadChunk(edge);
    if (count < BAD_CHUNKS_MAX) {
      const reason = `chunk ${chunk} hashes to something else; go on at \`received\``;
      return { ...receiving(delta, received), status: "bad-chunk", reason };
    }
    badChunks.delete(edge);
    return await this.#object(runner, edge, delta.manifest, damaged(`${count} chunks`));
  }

  /** Whether the bytes of a delta, refused ones too, lie here. */
  isKept(deltaSha256: string): boolean {
    return sha256Pattern.test(deltaSha256) && this.#options.deltas.has(sha256(deltaSha256));
  }

  /** How far an upload is, or how it ended. */
  async progress(runner: RoundRunner, edge: string): Promise<DeltaAnswer> {
    const delta = this.#arrivalsOf(runner).incoming.get(edge);
    const included = runner.state.seats.get(edge)?.manifest?.delta?.sha256;
    const refused = this.#admit(runner, edge, delta?.sha256 ?? included ?? "");
    if (refused) return refused;
    if (!delta) return answer("manifest-first", "send the manifest first");
    return receiving(delta, await delta.received());
  }

  /** Null for whoever may go on; else the last word. */
  #admit(runner: RoundRunner, edge: string, deltaSha256: string): DeltaAnswer | null {
    const { state } = runner;
    const admission = admitDelta(state, edge, deltaSha256, this.#options.clock.now());
    if (admission === "welcome") return null;
    const reason = state.seats.get(edge)?.reason || state.reason;
    return answer(admission, reason || reasonOf[admission]);
  }

  /** Told once the edge itself has signed for it: nobody else makes it late. */
  async #noteLate(runner: RoundRunner, edge: string, manifest: DeltaManifest): Promise<void> {
    const { campaign, round } = runner.state.offer;
    const isOfRound = manifest.campaign === campaign && manifest.round === round;
    const pinned = this.#options.pins.get(edge);
    const isOwn = pinned !== null && Buffer.from(pinned).equals(manifest.publicKey);
    if (!isOfRound || manifest.edge !== edge || !isOwn || !isManifestSigned(manifest)) return;
    await runner.step({ kind: "late", edge });
  }

  #receiving(
    runner: RoundRunner,
    edge: string,
    delta: IncomingDelta,
    received: number,
  ): DeltaAnswer {
    runner.noteUpload(edge, received, delta.total);
    return receiving(delta, received);
  }

  /** Screens what is on disk, then lets the round include it. */
  async #finish(runner: RoundRunner, edge: string, delta: IncomingDelta): Promise<DeltaAnswer> {
    const { manifest, sha256, total } = delta;
    // Kept from eviction for as long as the round may be summed or looked into.
    runner.onEnd(this.#options.deltas.pin(sha256));
    const expectation = await this.#expectation(runner, edge);
    const layout = layoutOfRank(expectation.layout, manifest.rank);
    const bytes = this.#options.deltas.size(sha256) ?? 0;
    const path = this.#options.deltas.path(sha256);
    const objection = expectation.masked
      ? screenMasked({ sha256, bytes }, manifest, expectation.layout)
      : screenDelta(
          { sha256, bytes, contents: await contentsOf(path, layout) },
          manifest,
          expectation,
        );
    if (objection) return await this.#object(runner, edge, manifest, objection);
    const events = await runner.step({ kind: "delta", edge, manifest });
    const isIncluded = events.some(({ kind }) => kind === "included" || kind === "carried");
    if (isIncluded) return answer("included", "", total, total);
    return this.#admit(runner, edge, sha256) ?? answer("conflict", reasonOf.conflict);
  }

  async #object(
    runner: RoundRunner,
    edge: string,
    manifest: DeltaManifest,
    objection: Objection,
  ): Promise<DeltaAnswer> {
    this.#options.onObjection(edge, objection);
    await runner.step({ kind: "objection", edge, manifest, objection });
    return answer("quarantined", `${objection.reason}: ${objection.detail}`);
  }

  /** The first key that signs well for a name is the name's, from then on. */
  async #pin(edge: string, manifest: DeltaManifest): Promise<Objection | null> {
    if (await this.#options.pins.pin(edge, manifest.publicKey)) return null;
    return { reason: "key", detail: "another key was pinned just now", attributable: false };
  }

  async #expectation(runner: RoundRunner, edge: string): Promise<DeltaExpectation> {
    const { offer } = runner.state;
    return {
      campaign: offer.campaign,
      round: offer.round,
      region: this.#options.region,
      edge,
      model: offer.model,
      baseSha256: offer.version?.base?.sha256 ?? "",
      startSha256: offer.adapterState?.sha256 ?? "",
      rank: offer.params?.rank ?? 0,
      alpha: offer.params?.alpha ?? 0,
      format: formatOfRound(formatFromWire(offer.format), offer.adapterState !== undefined),
      noised: isNoisedAtEdge(offer),
      masked: offer.secureAggregation,
      normMax: offer.params?.normMax ?? 0,
      publicKey: this.#options.pins.get(edge),
      layout: await this.#layout(runner),
    };
  }

  #layout(runner: RoundRunner): Promise<TensorLayout> {
    let layout = this.#layouts.get(runner);
    if (!layout) {
      layout = expectedLayout(runner.state.offer, this.#options.fetchArtifact);
      this.#layouts.set(runner, layout);
      // A failed fetch is tried again with the next delta.
      layout.catch(() => this.#layouts.delete(runner));
    }
    return layout;
  }

  #arrivalsOf(runner: RoundRunner): Arrivals {
    const known = this.#arrivals.get(runner);
    if (known) return known;
    const arrivals = { incoming: new Map<string, IncomingDelta>(), badChunks: new Map() };
    this.#arrivals.set(runner, arrivals);
    runner.onEnd(() => {
      for (const delta of arrivals.incoming.values()) this.#options.onLeft(delta.close());
    });
    return arrivals;
  }
}

function isNoisedAtEdge({ noise }: RoundOffer): boolean {
  return (noise?.atEdge ?? false) && (noise?.clip ?? 0) > 0;
}

function damaged(what: string): Objection {
  return { reason: "hash", detail: `${what} hash to something else`, attributable: false };
}

/** A name for this edge's delta in this round that no other has. */
function fileNameOf({ campaign, round, edge, delta }: DeltaManifest): string {
  const what = `${campaign}/${round}/${edge}/${delta!.sha256}`;
  return createHash("sha256").update(what).digest("hex");
}

/** Null when the file isn't a delta. */
async function contentsOf(path: string, layout: TensorLayout): Promise<DeltaContents | null> {
  try {
    return await scanDelta(path, layout);
  } catch (thrown) {
    if (thrown instanceof Fault) return null;
    throw thrown;
  }
}
