// One line of waiting tickets, in which tenants take turns: within a tenant first come first
// served, between tenants whoever has used least. Order of arrival breaks ties.
import type { TenantShares } from "./tenant-shares.ts";

/** What a line needs to know of whom it holds. */
export interface Waiting {
  readonly id: number;
  /** Account of the tenant. */
  readonly account: string;
}

export class FairLine<T extends Waiting> {
  readonly #shares: TenantShares;
  readonly #tenants = new Map<string, T[]>();
  #length = 0;

  constructor(shares: TenantShares) {
    this.#shares = shares;
  }

  get length(): number {
    return this.#length;
  }

  lengthOf(account: string): number {
    return this.#tenants.get(account)?.length ?? 0;
  }

  accounts(): IterableIterator<string> {
    return this.#tenants.keys();
  }

  *[Symbol.iterator](): Generator<T> {
    for (const waiting of this.#tenants.values()) yield* waiting;
  }

  push(ticket: T): void {
    const waiting = this.#tenants.get(ticket.account);
    if (waiting === undefined) this.#tenants.set(ticket.account, [ticket]);
    else waiting.push(ticket);
    this.#length++;
  }

  /** Takes whoever is next. */
  shift(): T | undefined {
    let next: T | undefined;
    let leastMs = Number.POSITIVE_INFINITY;
    for (const [account, [first]] of this.#tenants) {
      const usedMs = this.#shares.usedMs(account);
      const isTied = usedMs === leastMs && first!.id < next!.id;
      if (usedMs > leastMs || (usedMs === leastMs && !isTied)) continue;
      next = first;
      leastMs = usedMs;
    }
    if (next !== undefined) this.#drop(next.account, 0);
    return next;
  }

  /** Takes the newest of one tenant. */
  pop(account: string): T | undefined {
    const waiting = this.#tenants.get(account);
    return waiting === undefined ? undefined : this.#drop(account, waiting.length - 1);
  }

  remove(id: number): T | undefined {
    for (const [account, waiting] of this.#tenants) {
      const at = waiting.findIndex((ticket) => ticket.id === id);
      if (at >= 0) return this.#drop(account, at);
    }
    return undefined;
  }

  /** How many go before a newcomer of the account, as everybody takes turns. */
  aheadOf(account: string): number {
    const own = this.lengthOf(account);
    const usedMs = this.#shares.usedMs(account);
    let ahead = own;
    for (const [other, waiting] of this.#tenants) {
      if (other === account) continue;
      const turns = own + Number(this.#shares.usedMs(other) <= usedMs);
      ahead += Math.min(waiting.length, turns);
    }
    return ahead;
  }

  #drop(account: string, at: number): T | undefined {
    const waiting = this.#tenants.get(account);
    const [ticket] = waiting?.splice(at, 1) ?? [];
    if (waiting?.length === 0) this.#tenants.delete(account);
    this.#length--;
    return ticket;
  }
}
