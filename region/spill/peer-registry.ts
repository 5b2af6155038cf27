// The other regions: their newest summaries and the trunks to them. Known from the configuration
// and from what they say; an address that a region says itself replaces the configured one, unless
// that one is fixed.
import type { RegionModel, RegionSummary } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { RegionId } from "../../proto/ids.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import type { Trunk } from "../../runtime/trunk/trunk.ts";
import { FailurePenalty } from "../route/failure-penalty.ts";
import type { PeerView } from "./peer-choice.ts";
import { SpillLedger } from "./spill-ledger.ts";
import { readSummary } from "./summary-rules.ts";

/** A summary comes each second; older than this it says nothing any more. */
const SUMMARY_FRESH_MS = 5000;
const PEERS_MAX = 128;

export interface PeerAddress {
  readonly region: string;
  readonly http: string;
  readonly grpc: string;
  /** Holds whatever the region says of its addresses itself. */
  readonly fixed?: boolean;
}

export interface PeerRegistryOptions {
  readonly region: RegionId;
  readonly clock: Clock;
  readonly log: Log;
  readonly peers: readonly PeerAddress[];
  readonly openTrunk: (address: string) => Trunk;
}

/** One other region as it is known now. */
export interface Peer {
  readonly region: string;
  readonly http: string;
  readonly grpc: string;
  readonly trunk: Trunk;
  readonly summary: RegionSummary | null;
  readonly summaryMs: number;
}

export interface PeerStanding {
  readonly region: string;
  /** Null when it has never said. */
  readonly jurisdictions: readonly string[] | null;
  /** Of its process; null when it has not told of itself lately. */
  readonly incarnation: bigint | null;
  /** Whether the trunk to it is up. */
  readonly connected: boolean;
}

export class PeerRegistry {
  readonly penalty = new FailurePenalty();
  /** Requests of this region in the others. */
  readonly ledger = new SpillLedger();
  readonly #options: PeerRegistryOptions;
  readonly #peers = new Map<string, Peer>();
  readonly #fixed = new Map<string, PeerAddress>();
  #onDown: (key: string) => void = () => {};

  constructor(options: PeerRegistryOptions) {
    this.#options = options;
    for (const address of options.peers) {
      if (address.region === options.region) continue;
      if (address.fixed) this.#fixed.set(address.region, address);
      this.#adopt(address, null);
    }
  }

  /** Takes one message from the summaries' subject. Returns why it was not believed, or null. */
  takeSummary(subject: string, body: Uint8Array): string | null {
    const summary = readSummary(subject, body);
    if (typeof summary === "string") return summary;
    if (summary.region === this.#options.region) return null;
    const known = this.#peers.get(summary.region);
    if (known === undefined && this.#peers.size >= PEERS_MAX) return `more than ${PEERS_MAX} peers`;
    // A region whose clock was set back is believed again once its earlier words are stale.
    if (known?.summary && this.#isFresh(known) && isOlder(summary, known.summary)) {
      return "an older summary";
    }
    this.#adopt(this.#fixed.get(summary.region) ?? summary, summary);
    this.ledger.counted(summary.region);
    return null;
  }

  list(): Iterable<Peer> {
    return this.#peers.values();
  }

  get(region: string): Peer | undefined {
    return this.#peers.get(region);
  }

  keyOf(region: string): string {
    return `${region}/`;
  }

  /**
   * Every peer as the choice of a spill sees it for one model: directly or, while the trunk to it
   * is not up, by way of the nearest region that says it has one.
   */
  *views(model: string): Generator<PeerView, void, undefined> {
    const nowMs = this.#options.clock.monotonicMs();
    for (const peer of this.list()) {
      const via = isUp(peer) ? null : this.#wayTo(peer.region);
      const next = via?.peer ?? peer;
      yield {
        region: next.region,
        key: this.keyOf(next.region),
        target: peer.region,
        connected: isUp(next),
        rttMs: via?.rttMs ?? peer.trunk.rttMs,
        penaltyMs: this.penalty.of(next.region, nowMs),
        sentSince: this.ledger.sentSince(peer.region, model),
        jurisdictions: jurisdictionsOf(peer),
        viaJurisdictions: jurisdictionsOf(next),
        model: this.#modelOf(peer, model),
      };
    }
  }

  /** How each of the others stands with this one. */
  *standings(): Generator<PeerStanding, void, undefined> {
    for (const peer of this.list()) {
      yield {
        region: peer.region,
        jurisdictions: jurisdictionsOf(peer),
        incarnation: this.#isFresh(peer) ? (peer.summary?.incarnation ?? null) : null,
        connected: isUp(peer),
      };
    }
  }

  /** Round trips to the regions in reach, for this region's own summary. */
  rtts(): Record<string, number> {
    const rtts: Record<string, number> = {};
    for (const peer of this.list()) if (isUp(peer)) rtts[peer.region] = peer.trunk.rttMs;
    return rtts;
  }

  /** What peers said lately of their models. */
  *models(): Generator<RegionModel, void, undefined> {
    for (const peer of this.list()) {
      if (this.#isFresh(peer)) yield* peer.summary?.models ?? [];
    }
  }

  /** Whether a region is known but has not said lately how it is. */
  get anyUntold(): boolean {
    for (const peer of this.list()) {
      if (peer.trunk.state === "up" && !this.#isFresh(peer)) return true;
    }
    return false;
  }

  /** Calls with a peer's key when its trunk goes down. */
  onDown(listener: (key: string) => void): void {
    this.#onDown = listener;
  }

  close(): void {
    for (const { trunk } of this.list()) trunk.close();
    this.#peers.clear();
  }

  #modelOf(peer: Peer, model: string): PeerView["model"] {
    if (!this.#isFresh(peer)) return "untold";
    const state = peer.summary?.models.find((candidate) => candidate.model === model);
    return state === undefined || state.edgesReady === 0 ? null : state;
  }

  /** The shortest way to a region by one other that this one reaches and that reaches it. */
  #wayTo(target: string): { readonly peer: Peer; readonly rttMs: number } | null {
    let best: { peer: Peer; rttMs: number } | null = null;
    for (const peer of this.list()) {
      if (peer.region === target || !isUp(peer) || !this.#isFresh(peer)) continue;
      const onwardMs = peer.summary?.rttMs[target];
      if (onwardMs === undefined) continue;
      const rttMs = peer.trunk.rttMs + onwardMs;
      if (best === null || rttMs < best.rttMs) best = { peer, rttMs };
    }
    return best;
  }

  #isFresh({ summary, summaryMs }: Peer): boolean {
    if (summary === null) return false;
    return this.#options.clock.monotonicMs() - summaryMs <= SUMMARY_FRESH_MS;
  }

  #adopt({ region, http, grpc }: PeerAddress, summary: RegionSummary | null): void {
    const known = this.#peers.get(region);
    const summaryMs = this.#options.clock.monotonicMs();
    if (known !== undefined && known.grpc === grpc) {
      this.#peers.set(region, { ...known, http, summary, summaryMs });
      return;
    }
    known?.trunk.close();
    this.#options.log.info({ peer: region, grpc }, "peer region");
    const trunk = this.#options.openTrunk(grpc);
    trunk.onState((state) => {
      if (state === "down") this.#onDown(this.keyOf(region));
    });
    this.#peers.set(region, { region, http, grpc, trunk, summary, summaryMs });
  }
}

function isUp({ trunk }: Peer): boolean {
  return trunk.state === "up";
}

/** Null when it has never said. What it said once holds: labels don't age as loads do. */
function jurisdictionsOf({ summary }: Peer): readonly string[] | null {
  return summary?.labels?.jurisdictions ?? null;
}

function isOlder(summary: RegionSummary, known: RegionSummary): boolean {
  if (summary.incarnation !== known.incarnation) return summary.incarnation < known.incarnation;
  return summary.sequence <= known.sequence;
}
