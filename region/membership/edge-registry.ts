// The edges of a region with their trunks: the shell around membership. It opens and closes trunks
// as edges come, restart and go, and tells whoever serves streams when an edge must be left.
import type { RegionId } from "../../proto/ids.ts";
import type { Clock, Timer } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import type { Trunk } from "../../runtime/trunk/trunk.ts";
import { DispatchLedger } from "../route/dispatch-ledger.ts";
import { FailurePenalty } from "../route/failure-penalty.ts";
import type { RouteTarget } from "../route/route-target.ts";
import { readHeartbeat } from "./heartbeat-rules.ts";
import type { Member } from "./member.ts";
import { Membership, type MembershipChange, passTime, takeBeat, takeTrunk } from "./membership.ts";

/** How often trunks are looked at and time is let pass. */
const TICK_MS = 250;
const nothingCached: ReadonlyMap<string, number> = new Map();

export interface EdgeRegistryOptions {
  readonly region: RegionId;
  readonly clock: Clock;
  readonly log: Log;
  readonly openTrunk: (address: string) => Trunk;
}

export class EdgeRegistry {
  readonly ledger = new DispatchLedger();
  readonly penalty = new FailurePenalty();
  readonly #options: EdgeRegistryOptions;
  readonly #membership = new Membership();
  readonly #trunks = new Map<string, Trunk>();
  readonly #listeners = new Set<(change: MembershipChange) => void>();
  #tick: Timer | null = null;

  constructor(options: EdgeRegistryOptions) {
    this.#options = options;
    this.#tick = options.clock.every(TICK_MS, () => this.#onTick());
  }

  /** Takes one message from the heartbeat subject. Returns why it was not believed, or null. */
  takeHeartbeat(subject: string, body: Uint8Array): string | null {
    const heartbeat = readHeartbeat(this.#options.region, subject, body);
    if (typeof heartbeat === "string") return heartbeat;
    const outcome = takeBeat(this.#membership, heartbeat, this.#options.clock.monotonicMs());
    if (outcome.kind === "ignored") return outcome.reason;
    this.ledger.reported(heartbeat.edge);
    this.#perform(outcome.changes);
    return null;
  }

  members(): Iterable<Member> {
    return this.#membership.members.values();
  }

  trunkOf(edge: string): Trunk | undefined {
    return this.#trunks.get(edge);
  }

  keyOf(edge: string): string {
    return `${this.#options.region}/${edge}`;
  }

  /** Every edge as routing sees it for one model; `cached` says how much of the prompt it holds. */
  *targets(
    model: string,
    cached: ReadonlyMap<string, number> = nothingCached,
  ): Generator<RouteTarget, void, undefined> {
    const nowMs = this.#options.clock.monotonicMs();
    for (const { edge, heartbeat, status, reason, trunk } of this.members()) {
      yield {
        key: this.keyOf(edge),
        edge,
        region: this.#options.region,
        status,
        statusReason: reason,
        model: heartbeat.models.find((state) => state.model === model),
        rttMs: trunk.rttMs,
        unreported: this.ledger.unreported(edge, model),
        penaltyMs: this.penalty.of(edge, nowMs),
        cachedTokens: cached.get(edge) ?? 0,
      };
    }
  }

  /** Calls at every change, after the trunks have followed it. */
  onChange(listener: (change: MembershipChange) => void): void {
    this.#listeners.add(listener);
  }

  close(): void {
    this.#tick?.cancel();
    this.#listeners.clear();
    for (const trunk of this.#trunks.values()) trunk.close();
    this.#trunks.clear();
  }

  #onTick(): void {
    for (const { edge } of [...this.members()]) this.#look(edge);
    this.#perform(passTime(this.#membership, this.#options.clock.monotonicMs()));
  }

  #look(edge: Member["edge"]): void {
    const trunk = this.#trunks.get(edge);
    if (trunk === undefined) return;
    const { state, rttMs, silentMs } = trunk;
    const nowMs = this.#options.clock.monotonicMs();
    this.#perform(takeTrunk(this.#membership, edge, { state, rttMs, silentMs }, nowMs));
  }

  #perform(changes: readonly MembershipChange[]): void {
    for (const change of changes) {
      const { kind, member } = change;
      const { log } = this.#options;
      if (kind === "status") {
        log.info({ edge: member.edge, status: member.status, reason: member.reason }, "edge");
      } else log.info({ edge: member.edge, grpc: member.heartbeat.grpc }, `edge ${kind}`);
      if (kind === "removed" || kind === "replaced") this.#disconnect(member.edge);
      if (kind === "joined" || kind === "replaced") this.#connect(member);
      for (const listener of this.#listeners) listener(change);
    }
  }

  #connect({ edge, heartbeat }: Member): void {
    const trunk = this.#options.openTrunk(heartbeat.grpc);
    this.#trunks.set(edge, trunk);
    trunk.onState(() => {
      if (this.#trunks.get(edge) === trunk) this.#look(edge);
    });
  }

  #disconnect(edge: string): void {
    this.#trunks.get(edge)?.close();
    this.#trunks.delete(edge);
    this.ledger.forget(edge);
    this.penalty.forget(edge);
  }
}
