// A simulated region: the real membership and continuation behind a gateway (sim-gateway.ts) that
// callers and other regions reach. Disposable: it can be killed, and starts knowing nothing.
import { asFault } from "../../../proto/fault.ts";
import type { Heartbeat, RegionModel } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import { type EdgeId, edgeId } from "../../../proto/ids.ts";
import type { Member } from "../../../region/membership/member.ts";
import {
  defaultMembershipBounds,
  Membership,
  type MembershipChange,
  passTime,
  takeBeat,
  takeTrunk,
} from "../../../region/membership/membership.ts";
import {
  type Continuation,
  createContinuation,
} from "../../../runtime/continuation/continuation.ts";
import type { Random } from "../../../runtime/random.ts";
import type { Auditor } from "../audit/auditor.ts";
import type { EventQueue } from "../kernel/event-queue.ts";
import type { TraceHash } from "../kernel/trace-hash.ts";
import type { SimRouter } from "../policies/sim-router.ts";
import type { SimRequest } from "../workload/sim-request.ts";
import type { HeartBank } from "./heart-bank.ts";
import { PeerBook, type PeerLink } from "./peer-book.ts";
import { summarize, toldOf } from "./region-summary.ts";
import type { Sabotage } from "./sabotage.ts";
import { SimGateway } from "./sim-gateway.ts";
import type { SimProcess } from "./sim-process.ts";
import type { ServedCall, SimService } from "./sim-service.ts";
import type { SimTrunk } from "./sim-trunk.ts";

/** How often time is let pass and trunks that are not well are looked at (as the registry does). */
const TICK_MS = 250;
const SUMMARY_EVERY_MS = 1000;
const WAY = ">";

export interface SimRegionOptions {
  readonly queue: EventQueue;
  readonly name: string;
  readonly model: string;
  readonly process: SimProcess;
  readonly jurisdictions: readonly string[];
  /** Whether it weighs other regions against its own edges, or only goes there when it must. */
  readonly weighsPeers: boolean;
  readonly sabotage: Sabotage;
  readonly random: Random;
  readonly auditor: Auditor;
  readonly trace: TraceHash;
  readonly createRouter: () => SimRouter;
  readonly requestOf: (call: Pick<ServedCall, "request">) => SimRequest;
  /** A trunk to the edge that said this address, and to each other region. */
  readonly openTrunk: (address: string) => SimTrunk;
  readonly openPeers: () => ReadonlyMap<string, PeerLink>;
  /** Tells the other regions; it takes as long as it takes. */
  readonly publish: (from: string, summary: RegionModel) => void;
  readonly bank: HeartBank;
  readonly onMove: (from: string, cause: string) => void;
  readonly onSpill: (from: string, to: string, request: SimRequest) => void;
}

/** All that a gateway knows: gone with its process. */
interface Memory {
  readonly membership: Membership;
  readonly router: SimRouter;
  readonly trunks: Map<string, SimTrunk>;
  /** The edges whose trunks are not well. */
  readonly unwell: Map<string, SimTrunk>;
  readonly peers: PeerBook;
  readonly gateway: SimGateway;
  readonly continuation: Continuation;
  readonly stopping: AbortController;
}

export class SimRegion implements SimService {
  readonly options: SimRegionOptions;
  #memory: Memory | null = null;

  constructor(options: SimRegionOptions) {
    this.options = options;
    this.#begin();
  }

  get process(): SimProcess {
    return this.options.process;
  }

  get router(): SimRouter | null {
    return this.#memory?.router ?? null;
  }

  /** Streams that have not ended. */
  get streams(): number {
    return this.#memory?.continuation.active ?? 0;
  }

  get underway(): number {
    return this.#memory?.gateway.underway ?? 0;
  }

  /** Edges that are not ready, as the gateway sees them. */
  get unready(): number {
    let count = 0;
    for (const { status } of this.#memory?.membership.members.values() ?? []) {
      if (status !== "ready") count += 1;
    }
    return count;
  }

  get known(): number {
    return this.#memory?.membership.members.size ?? 0;
  }

  get trunks(): Iterable<SimTrunk> {
    return this.#memory?.trunks.values() ?? [];
  }

  get peerTrunks(): Iterable<SimTrunk> {
    return this.#memory?.peers.trunks() ?? [];
  }

  trunkOf(edge: string): SimTrunk | undefined {
    return this.#memory?.trunks.get(edge);
  }

  /** Takes a beat of the edge with this number; whichever is not held afterwards is given back. */
  takeBeat(index: number, beat: Heartbeat): void {
    const memory = this.#memory;
    const { bank } = this.options;
    const nowMs = this.process.monotonicMs;
    const outcome = memory === null ? null : takeBeat(memory.membership, beat, nowMs);
    if (memory === null || outcome?.kind !== "accepted") {
      bank.discard(index, beat);
      return;
    }
    const { changes } = outcome;
    if (changes.length > 0) this.#perform(changes, nowMs);
    const edge = beat.edge as EdgeId; // membership has checked it
    memory.router.beat(edge, beat, nowMs);
    if (changes.length > 0) {
      const { status, reason } = memory.membership.members.get(edge)!;
      memory.router.setStatus(edge, status, reason);
    }
    bank.hold(index, beat);
  }

  takeSummary(from: string, summary: RegionModel): void {
    this.#memory?.peers.told(from, summary, this.process.monotonicMs);
  }

  serve(call: ServedCall): void {
    const memory = this.#memory;
    if (memory === null) return;
    const { auditor, name, requestOf } = this.options;
    // The way is kept where the mesh itself doesn't look: the audit believes nobody else.
    const requestId = `${call.context.requestId}${WAY}${name}`;
    auditor.reachedRegion(requestOf(call), requestId.split(WAY).slice(1));
    const signal = AbortSignal.any([call.context.signal, memory.stopping.signal]);
    const context = { ...call.context, signal, requestId };
    memory.continuation
      .generate(call.request, context, (event) => call.emit(event))
      .then(
        () => call.end(null),
        (thrown: unknown) => call.end(asFault(thrown)),
      );
  }

  kill(): void {
    const memory = this.#memory;
    this.process.kill();
    this.#memory = null;
    if (memory === null) return;
    memory.stopping.abort();
    for (const trunk of memory.trunks.values()) trunk.close();
    memory.peers.close();
  }

  restart(): void {
    if (this.process.state !== "dead") return;
    this.process.start();
    this.#begin();
  }

  #begin(): void {
    const { process, createRouter, openPeers, onMove } = this.options;
    const peers = new PeerBook(openPeers());
    const router = createRouter();
    const trunks = new Map<string, SimTrunk>();
    const gateway = new SimGateway(this.options, router, trunks, peers);
    const memory: Memory = {
      ...{ membership: new Membership(), router, trunks, peers, gateway },
      unwell: new Map(),
      stopping: new AbortController(),
      continuation: createContinuation({
        clock: process.clock,
        pick: (excluded, view) => gateway.pick(excluded, view),
        onMove: (key, fault) => onMove(key, fault.code),
      }),
    };
    peers.onDown((region) => memory.continuation.moveAway(`${region}/`, "the trunk is down"));
    this.#memory = memory;
    this.#tick(memory, process.life);
    this.#tellOthers(memory, process.life);
  }

  #tick(memory: Memory, life: number): void {
    this.options.queue.after(TICK_MS, () =>
      this.process.run(() => {
        if (life !== this.process.life) return;
        const nowMs = this.process.monotonicMs;
        for (const [edge, trunk] of memory.unwell) {
          if (memory.trunks.get(edge) === trunk) this.#look(memory, edgeId(edge), trunk);
          if (trunk.silentMs === 0) memory.unwell.delete(edge);
        }
        this.#perform(passTime(memory.membership, nowMs), nowMs);
        this.#tick(memory, life);
      }),
    );
  }

  #tellOthers(memory: Memory, life: number): void {
    this.options.queue.after(SUMMARY_EVERY_MS, () =>
      this.process.run(() => {
        if (life !== this.process.life) return;
        const { name, model } = this.options;
        const own = memory.router.summary(model, this.process.monotonicMs);
        const told =
          own === null ? summarize(model, memory.membership.members.values()) : toldOf(model, own);
        this.options.publish(name, told);
        this.#tellOthers(memory, life);
      }),
    );
  }

  #look(memory: Memory, edge: EdgeId, trunk: SimTrunk): void {
    const { state, rttMs, silentMs } = trunk;
    const nowMs = this.process.monotonicMs;
    memory.router.setRtt(edge, rttMs);
    const sight = { state, rttMs, silentMs };
    this.#perform(takeTrunk(memory.membership, edge, sight, nowMs), nowMs);
  }

  #perform(changes: readonly MembershipChange[], nowMs: number): void {
    const memory = this.#memory!;
    for (const change of changes) {
      const { kind, member } = change;
      this.options.trace.number(nowMs).text(kind).text(member.edge).text(member.status);
      if (kind === "removed" || kind === "replaced") {
        memory.trunks.get(member.edge)?.close();
        memory.trunks.delete(member.edge);
        memory.router.remove(member.edge);
      }
      if (kind === "joined" || kind === "replaced") this.#connect(memory, member);
      else if (kind === "status") {
        memory.router.setStatus(member.edge, member.status, member.reason);
      }
      this.#leaveIfLost(memory, change);
    }
  }

  /** As the gateway does: streams leave an edge that no longer answers before it is given up. */
  #leaveIfLost({ continuation }: Memory, change: MembershipChange): void {
    if (change.kind === "joined") return;
    const { edge, status, reason, trunk } = change.member;
    const isSilent = trunk.silentMs > defaultMembershipBounds.trunkSilentMs;
    if (change.kind !== "status" || status === "dead" || trunk.state !== "up" || isSilent) {
      continuation.moveAway(`${this.options.name}/${edge}`, reason);
    }
  }

  #connect(memory: Memory, { edge, heartbeat }: Member): void {
    const trunk = this.options.openTrunk(heartbeat.grpc);
    memory.trunks.set(edge, trunk);
    trunk.onUnwell = () => memory.unwell.set(edge, trunk);
    trunk.onState(() => {
      if (memory.trunks.get(edge) === trunk) this.#look(memory, edge, trunk);
    });
  }
}
