// The edges of a region with their trunks: the shell around membership and the route table. It
// opens and closes trunks as edges come, restart and go, keeps the table in step, and tells whoever
// serves streams when an edge must be left.
import { type EdgeId, edgeId, type RegionId } from "../../proto/ids.ts";
import type { Clock, Timer } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import type { Trunk } from "../../runtime/trunk/trunk.ts";
import { type RouteLabels, RouteTable } from "../route/route-table.ts";
import { readHeartbeat } from "./heartbeat-rules.ts";
import type { Member } from "./member.ts";
import { Membership, type MembershipChange, passTime, takeBeat, takeTrunk } from "./membership.ts";

/** How often trunks are looked at and time is let pass. */
const TICK_MS = 250;

export interface EdgeRegistryOptions {
  readonly region: RegionId;
  readonly clock: Clock;
  readonly log: Log;
  readonly openTrunk: (address: string) => Trunk;
  /** What the operator says of the region. */
  readonly labels?: RouteLabels;
}

export class EdgeRegistry {
  /** Where requests go best. */
  readonly table: RouteTable;
  readonly #options: EdgeRegistryOptions;
  readonly #membership = new Membership();
  readonly #trunks = new Map<string, Trunk>();
  readonly #listeners = new Set<(change: MembershipChange) => void>();
  #tick: Timer | null = null;

  constructor(options: EdgeRegistryOptions) {
    this.#options = options;
    const { region, labels } = options;
    this.table = new RouteTable({ region, ...(labels === undefined ? {} : { labels }) });
    this.#tick = options.clock.every(TICK_MS, () => this.#onTick());
  }

  /** Takes one message from the heartbeat subject. Returns why it was not believed, or null. */
  takeHeartbeat(subject: string, body: Uint8Array): string | null {
    const heartbeat = readHeartbeat(this.#options.region, subject, body);
    if (typeof heartbeat === "string") return heartbeat;
    const nowMs = this.#options.clock.monotonicMs();
    const outcome = takeBeat(this.#membership, heartbeat, nowMs);
    if (outcome.kind === "ignored") return outcome.reason;
    const { edge } = heartbeat;
    // What was sent to an earlier process, or another address, is over.
    if (outcome.changes.some(({ kind }) => kind === "replaced")) this.table.remove(edge);
    this.table.beat(edge, heartbeat, nowMs);
    this.#perform(outcome.changes);
    this.#tell(edgeId(edge));
    return null;
  }

  /** The time on the scale of the route table. */
  get nowMs(): number {
    return this.#options.clock.monotonicMs();
  }

  members(): Iterable<Member> {
    return this.#membership.members.values();
  }

  member(edge: string): Member | undefined {
    return this.#membership.members.get(edge as EdgeId);
  }

  trunkOf(edge: string): Trunk | undefined {
    return this.#trunks.get(edge);
  }

  keyOf(edge: string): string {
    return `${this.#options.region}/${edge}`;
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
    this.table.setRtt(edge, rttMs);
    this.#perform(takeTrunk(this.#membership, edge, { state, rttMs, silentMs }, nowMs));
    this.#tell(edge);
  }

  /** Routing follows membership. */
  #tell(edge: EdgeId): void {
    const member = this.#membership.members.get(edge);
    if (member !== undefined) this.table.setStatus(edge, member.status, member.reason);
  }

  #perform(changes: readonly MembershipChange[]): void {
    for (const change of changes) {
      const { kind, member } = change;
      const { log } = this.#options;
      if (kind === "status") {
        log.info({ edge: member.edge, status: member.status, reason: member.reason }, "edge");
      } else log.info({ edge: member.edge, grpc: member.heartbeat.grpc }, `edge ${kind}`);
      if (kind === "removed") this.table.remove(member.edge);
      else this.#tell(member.edge);
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
  }
}
