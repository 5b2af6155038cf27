// Who has had how much: one account of slot time for each tenant, so that those who wait take turns
// by what they have used and not by how much they send. Start-time fair queueing over tenants: the
// least account goes next, and whoever comes back after a pause begins where the others are now,
// with no credit saved up.
//
// Source: Goyal, Vin, Cheng, "Start-time Fair Queueing" (1996).

/** Tenants told apart; those beyond share one account until others have gone. */
export const TENANTS_MAX = 64;
/** A name that no tenant can have. */
const OTHERS = "\u0000others";

interface Account {
  /** Slot time used, on the scale of virtual time. */
  usedMs: number;
  /** Requests that wait or are active. */
  present: number;
}

export class TenantShares {
  readonly #accounts = new Map<string, Account>();
  /** The account of whoever was served last, before it was charged. */
  #virtualMs = 0;

  /** A request of the tenant is here; returns the account under which it is kept. */
  enter(tenant: string): string {
    if (!this.#accounts.has(tenant) && this.#accounts.size >= TENANTS_MAX) this.#forgetIdle();
    const isKnown = this.#accounts.has(tenant) || this.#accounts.size < TENANTS_MAX;
    const name = isKnown ? tenant : OTHERS;
    const account = this.#accounts.get(name) ?? { usedMs: 0, present: 0 };
    this.#accounts.set(name, account);
    if (account.present === 0) account.usedMs = Math.max(account.usedMs, this.#virtualMs);
    account.present++;
    return name;
  }

  /** That request has ended, wherever it was. */
  leave(name: string): void {
    const account = this.#accounts.get(name);
    if (account !== undefined) account.present--;
  }

  /** A slot goes to the account, for as long as requests usually take. */
  grant(name: string, expectedMs: number): void {
    const account = this.#accounts.get(name);
    if (account === undefined) return;
    this.#virtualMs = Math.max(this.#virtualMs, account.usedMs);
    account.usedMs += expectedMs;
  }

  /** What a grant took more (or less) than was expected. */
  correct(name: string, differenceMs: number): void {
    const account = this.#accounts.get(name);
    if (account !== undefined) account.usedMs += differenceMs;
  }

  /** The less, the sooner it is served. */
  usedMs(name: string): number {
    return this.#accounts.get(name)?.usedMs ?? this.#virtualMs;
  }

  /** Accounts that would begin at the present again, whether they are kept or not. */
  #forgetIdle(): void {
    for (const [name, { usedMs, present }] of this.#accounts) {
      if (present === 0 && usedMs <= this.#virtualMs) this.#accounts.delete(name);
    }
  }
}
