// Which sessions each other region has still to be told of. Bounded: a region that is owed too many
// is owed all of them.

/** Keys remembered for one region. */
const KEYS_MAX = 20_000;

interface Account {
  keys: Set<string>;
  all: boolean;
  /** Of the process that was in reach last. */
  incarnation: bigint | null;
  /** Since when it has been in reach without a break; null while it isn't. */
  sinceMs: number | null;
}

export class SessionDebts {
  readonly #accounts = new Map<string, Account>();

  /**
   * Whether the region is in reach now, and as which process (null: out of reach). One that was
   * never seen before, or has started anew, is owed everything: who knows what it remembers.
   */
  seen(region: string, incarnation: bigint | null, nowMs: number): void {
    const account = this.#account(region);
    if (incarnation === null) {
      account.sinceMs = null;
      return;
    }
    if (account.incarnation !== incarnation) {
      account.incarnation = incarnation;
      account.sinceMs = null;
      account.all = true;
    }
    account.sinceMs ??= nowMs;
  }

  /** Another process that shares the store is gone, and nobody knows what it owed. */
  oweAll(): void {
    for (const account of this.#accounts.values()) account.all = true;
  }

  inReachSinceMs(region: string): number | null {
    return this.#accounts.get(region)?.sinceMs ?? null;
  }

  owe(region: string, key: string): void {
    const account = this.#account(region);
    if (account.keys.size < KEYS_MAX) account.keys.add(key);
    else account.all = true;
  }

  owesAny(region: string): boolean {
    const account = this.#accounts.get(region);
    return account !== undefined && (account.all || account.keys.size > 0);
  }

  owesAll(region: string): boolean {
    return this.#accounts.get(region)?.all ?? false;
  }

  /** In place of everything: these, which are all that there is. */
  oweThese(region: string, keys: Iterable<string>): void {
    const account = this.#account(region);
    account.all = false;
    for (const key of keys) account.keys.add(key);
  }

  /** Up to `count` keys that are owed. */
  some(region: string, count: number): string[] {
    const owed: string[] = [];
    for (const key of this.#accounts.get(region)?.keys ?? []) {
      if (owed.length === count) break;
      owed.push(key);
    }
    return owed;
  }

  paid(region: string, key: string): void {
    this.#accounts.get(region)?.keys.delete(key);
  }

  #account(region: string): Account {
    const known = this.#accounts.get(region);
    if (known !== undefined) return known;
    const account = { keys: new Set<string>(), all: true, incarnation: null, sinceMs: null };
    this.#accounts.set(region, account);
    return account;
  }
}
