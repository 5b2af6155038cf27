// What the processes of a region are to everybody else: one region, with one address, one
// incarnation, and summaries that are newer than those before whichever of them tells.
import type { RegionId } from "../../proto/ids.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { LeaseRecord } from "./lease-state.ts";

/** Room for Unix milliseconds below the lease's term: until the year 2109. */
const TERM_UNIT = 2n ** 42n;

export interface RegionAddresses {
  readonly http: string;
  readonly grpc: string;
}

export interface RegionIdentityOptions {
  readonly region: RegionId;
  /** Of this process. */
  readonly incarnation: number;
  /** The common address, where there is one. */
  readonly advertise: { readonly http?: string | undefined; readonly grpc?: string | undefined };
  /** This process's own; empty until it listens. */
  readonly own: RegionAddresses;
  /** The lease as it was seen last; null for a process that is alone, or before it was read. */
  readonly record: () => LeaseRecord | null;
  readonly clock: Clock;
}

export interface ToldIdentity extends RegionAddresses {
  readonly region: string;
  readonly incarnation: bigint;
  readonly sequence: bigint;
}

export class RegionIdentity {
  readonly #options: RegionIdentityOptions;
  #sequence = 0n;

  constructor(options: RegionIdentityOptions) {
    this.#options = options;
  }

  /** Without a common address, the holder of the lease is where the region is. */
  get addresses(): RegionAddresses {
    const { advertise, own, record } = this.#options;
    const { http, grpc } = record() ?? own;
    return { http: advertise.http ?? http, grpc: advertise.grpc ?? grpc };
  }

  /** For one more summary. */
  next(): ToldIdentity {
    const { region, incarnation, record, clock } = this.#options;
    const lease = record();
    const floor = lease === null ? 0n : BigInt(lease.term) * TERM_UNIT + BigInt(clock.now());
    this.#sequence = floor > this.#sequence ? floor : this.#sequence + 1n;
    const born = BigInt(lease?.bornMs ?? incarnation);
    return { region, incarnation: born, sequence: this.#sequence, ...this.addresses };
  }
}
