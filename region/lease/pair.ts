// A process among those of its region: whether it is to do what only one may do, whether it speaks
// for the region, and who else there is.
import type { RegionInstance } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { RegionId } from "../../proto/ids.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import type { NatsLink } from "../../runtime/nats/connection.ts";
import { LEASE_BUCKET, Lease } from "./lease.ts";
import type { LeaseRecord } from "./lease-state.ts";
import { type RegionAddresses, RegionIdentity } from "./region-identity.ts";
import { instanceOf, Siblings } from "./siblings.ts";

/** Of a process whose configuration names none. */
export const INSTANCE_DEFAULT = "a";

export interface PairOptions {
  readonly region: RegionId;
  /** Undefined for a process that is alone. */
  readonly instance: string | undefined;
  readonly domain: string;
  readonly advertise: { readonly http?: string | undefined; readonly grpc?: string | undefined };
  readonly nats: NatsLink;
  readonly clock: Clock;
  readonly log: Log;
  /** Another process of the region is gone, or has started anew. */
  readonly onLost: (instance: string) => void;
}

export class Pair {
  readonly instance: string;
  readonly isAlone: boolean;
  readonly identity: RegionIdentity;
  readonly #options: PairOptions;
  readonly #incarnation: number;
  readonly #own = { http: "", grpc: "" };
  readonly #listeners: (() => void)[] = [];
  #lease: Lease | null = null;
  #siblings: Siblings | null = null;

  constructor(options: PairOptions) {
    this.#options = options;
    const { region, advertise, clock } = options;
    this.instance = options.instance ?? INSTANCE_DEFAULT;
    this.isAlone = options.instance === undefined;
    this.#incarnation = clock.now();
    this.identity = new RegionIdentity({
      ...{ region, advertise, clock, own: this.#own, incarnation: this.#incarnation },
      record: () => (this.isAlone ? null : (this.#lease?.record ?? null)),
    });
  }

  /** Whether this process is to do what only one may do. One that is alone need not ask. */
  get acts(): boolean {
    return this.#lease?.acts ?? this.isAlone;
  }

  /**
   * Whether this process tells what everybody needs to hear, and may hear twice. While the lease's
   * store is away, nobody is known to have the lease; then the first by name speaks.
   */
  get speaks(): boolean {
    if (this.acts) return true;
    if (this.#lease?.isAway !== true || this.#lease.holder !== null) return false;
    return this.instances()[0]?.instance === this.instance;
  }

  /** Who else has the duties now, as far as is known here. */
  get holder(): LeaseRecord | null {
    const holder = this.#lease?.holder ?? null;
    return holder?.incarnation === this.#incarnation ? null : holder;
  }

  /** Where this process itself is reached. */
  get own(): RegionAddresses {
    return this.#own;
  }

  /** The processes of the region; none when this one is alone. */
  instances(): readonly RegionInstance[] {
    const holds = this.holder?.instance;
    return (this.#siblings?.list() ?? []).map((told) => {
      return told.instance === this.instance || holds === undefined
        ? told
        : instanceOf({ ...told, holds: told.instance === holds });
    });
  }

  /** The other processes of the region. */
  others(): readonly RegionInstance[] {
    return this.#siblings?.others() ?? [];
  }

  /** Calls when the duties come or go, and when another process has them. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /** This process listens: it may be told of, and may have the lease. */
  start({ http, grpc }: RegionAddresses): void {
    Object.assign(this.#own, { http, grpc });
    const { region, domain, nats, clock, log, onLost } = this.#options;
    const { instance, isAlone: alone } = this;
    this.#lease = new Lease({
      bucket: () => nats.kv(domain, LEASE_BUCKET, { history: 1 }),
      key: region,
      me: { instance, incarnation: this.#incarnation, http, grpc, alone },
      clock,
      log,
    });
    this.#lease.onChange(() => {
      for (const listener of this.#listeners) listener();
    });
    this.#lease.start();
    if (alone) return;
    this.#siblings = new Siblings({ region, nats, clock, onLost, self: () => this.#self() });
  }

  async stop(): Promise<void> {
    this.#siblings?.stop();
    await this.#lease?.stop();
  }

  #self(): RegionInstance {
    const incarnation = BigInt(this.#incarnation);
    const { region } = this.#options;
    return instanceOf({
      region,
      instance: this.instance,
      incarnation,
      holds: this.acts,
      ...this.#own,
    });
  }
}
