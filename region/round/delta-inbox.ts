// Takes deltas in: first the signed manifest, then the bytes. A delta is acknowledged once its
// bytes are on disk and the round's log says that it is included.
import { Fault } from "../../proto/fault.ts";
import type { Artifact } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { DeltaManifest } from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import type { RegionId } from "../../proto/ids.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { ArtifactStore } from "../../sync/artifact/artifact-store.ts";
import type { ContentRange } from "../../sync/artifact/byte-range.ts";
import {
  type DeltaExpectation,
  type Objection,
  screenDelta,
  screenManifest,
} from "../../sync/delta/screening.ts";
import type { TensorLayout, TensorMap } from "../../sync/delta/tensor-map.ts";
import { readSafetensors } from "../../sync/formats/safetensors.ts";
import { expectedLayout } from "./expected-layout.ts";
import { IncomingDelta } from "./incoming-delta.ts";
import type { KeyPins } from "./key-pins.ts";
import { type Admission, admitDelta } from "./round-decision.ts";
import type { RoundRunner } from "./round-runner.ts";

export type DeltaStatus =
  | "receiving"
  | "included"
  /** A piece came before the manifest that says what it is. */
  | "manifest-first"
  /** The piece starts elsewhere than at `received`. */
  | "offset"
  | Exclude<Admission, "welcome">;

export interface DeltaAnswer {
  readonly status: DeltaStatus;
  readonly reason: string;
  /** Bytes here, of the total that the manifest states. */
  readonly received: number;
  readonly total: number;
}

export interface DeltaInboxOptions {
  readonly region: RegionId;
  readonly deltas: ArtifactStore;
  readonly pins: KeyPins;
  readonly clock: Clock;
  readonly fetchArtifact: (artifact: Artifact) => Promise<string>;
  readonly onObjection: (edge: string, objection: Objection) => void;
}

export class DeltaInbox {
  readonly #options: DeltaInboxOptions;
  /** Manifests that passed, by edge. Lost in a crash: the edge sends its manifest again. */
  readonly #incoming = new WeakMap<RoundRunner, Map<string, IncomingDelta>>();
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
    if (refused) return refused;
    const objection =
      screenManifest(manifest, await this.#expectation(runner, edge)) ??
      (await this.#pin(edge, manifest));
    if (objection) return await this.#object(runner, edge, manifest, objection);
    const incoming = this.#incomingOf(runner);
    await incoming.get(edge)?.interrupt();
    const delta = new IncomingDelta(manifest, this.#options.deltas);
    incoming.set(edge, delta);
    if (delta.isWhole) return await this.#finish(runner, edge, delta);
    return receiving(delta, await delta.received());
  }

  /** Takes a piece of the bytes; with the last one the delta is screened and included. */
  async takePiece(
    runner: RoundRunner,
    edge: string,
    piece: ContentRange,
    body: ReadableStream<Uint8Array> | null,
  ): Promise<DeltaAnswer> {
    const delta = this.#incomingOf(runner).get(edge);
    const refused = this.#admit(runner, edge, delta?.sha256 ?? "");
    if (refused) return refused;
    if (!delta) return answer("manifest-first", "send the manifest first");
    const reception = await delta.receive(piece, body);
    switch (reception.kind) {
      case "whole":
        return await this.#finish(runner, edge, delta);
      case "partial":
        return receiving(delta, reception.received);
      case "misplaced": {
        const { received } = reception;
        return { ...receiving(delta, received), status: "offset", reason: "go on at `received`" };
      }
      case "corrupt": {
        const detail = "the bytes hash to something else";
        const objection = { reason: "hash", detail, attributable: false } as const;
        return await this.#object(runner, edge, delta.manifest, objection);
      }
    }
  }

  /** How far an upload is, or how it ended. */
  async progress(runner: RoundRunner, edge: string): Promise<DeltaAnswer> {
    const delta = this.#incomingOf(runner).get(edge);
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

  /** Screens what is on disk, then lets the round include it. */
  async #finish(runner: RoundRunner, edge: string, delta: IncomingDelta): Promise<DeltaAnswer> {
    const { manifest, sha256, total } = delta;
    // Kept from eviction for as long as the round may be summed or looked into.
    runner.onEnd(this.#options.deltas.pin(sha256));
    const tensors = readTensors(this.#options.deltas.path(sha256));
    const arrived = { sha256, bytes: this.#options.deltas.size(sha256) ?? 0, tensors };
    const objection = screenDelta(arrived, manifest, await this.#expectation(runner, edge));
    if (objection) return await this.#object(runner, edge, manifest, objection);
    const events = await runner.step({ kind: "delta", edge, manifest });
    const isIncluded = events.some((event) => event.kind === "included" && event.edge === edge);
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

  #incomingOf(runner: RoundRunner): Map<string, IncomingDelta> {
    const incoming = this.#incoming.get(runner) ?? new Map<string, IncomingDelta>();
    this.#incoming.set(runner, incoming);
    return incoming;
  }
}

const reasonOf: Record<Exclude<Admission, "welcome">, string> = {
  duplicate: "this delta was included before",
  late: "the round is over",
  conflict: "the edge's part in this round has ended in another way",
  quarantined: "an earlier delta of this edge was refused",
  "not-invited": "the edge was not invited to this round",
};

function answer(status: DeltaStatus, reason: string, received = 0, total = 0): DeltaAnswer {
  return { status, reason, received, total };
}

function receiving({ total }: IncomingDelta, received: number): DeltaAnswer {
  return answer("receiving", "", received, total);
}

/** Null when the file isn't safetensors of f32 numbers. */
function readTensors(path: string): TensorMap | null {
  try {
    return readSafetensors(path).tensors;
  } catch (thrown) {
    if (thrown instanceof Fault) return null;
    throw thrown;
  }
}
