// What passes through one gateway for each model: how much goes to edges and how soon it was
// predicted to begin there, and how much goes elsewhere or nowhere.
import { LRUCache } from "lru-cache";

/** Counts only grow. */
export interface DemandCount {
  readonly routed: number;
  /** Of those routed, the ones predicted to begin later than the target. */
  readonly late: number;
  /** Refused for want of room, or sent to another region. */
  readonly turnedAway: number;
}

/** How one request was predicted to begin. */
export interface PredictedStart {
  readonly ttftMs: number;
  /** Of it: for a slot, and for the model to be loaded. */
  readonly waitMs: number;
}

/** Models counted; callers may name what they like. */
const MODELS_MAX = 1024;
const PREDICTIONS_MAX = 256;
const RECENT_MS = 60_000;
const TAIL_SHARE = 0.95;
/** Weight of the newest request in a mean. */
const WEIGHT = 0.05;

export const noDemand: DemandCount = { routed: 0, late: 0, turnedAway: 0 };

interface Account {
  routed: number;
  late: number;
  turnedAway: number;
  /** Without waiting: reading the prompt and one step. */
  readMs: number;
  readonly recent: { readonly atMs: number; readonly ttftMs: number }[];
}

export class DemandCounts {
  readonly #accounts = new LRUCache<string, Account>({ max: MODELS_MAX });
  readonly #targetMsOf: (model: string) => number;

  constructor(targetMsOf: (model: string) => number) {
    this.#targetMsOf = targetMsOf;
  }

  /** Requires: the model is one that this region knows. */
  routed(model: string, { ttftMs, waitMs }: PredictedStart, nowMs: number): void {
    const account = this.#of(model);
    account.routed += 1;
    if (ttftMs > this.#targetMsOf(model)) account.late += 1;
    const readMs = Math.max(0, ttftMs - waitMs);
    account.readMs += (account.readMs === 0 ? 1 : WEIGHT) * (readMs - account.readMs);
    account.recent.push({ atMs: nowMs, ttftMs });
    if (account.recent.length > PREDICTIONS_MAX) account.recent.shift();
  }

  turnedAway(model: string): void {
    this.#of(model).turnedAway += 1;
  }

  models(): Iterable<string> {
    return this.#accounts.keys();
  }

  count(model: string): DemandCount {
    return this.#accounts.peek(model) ?? noDemand;
  }

  /** The mean first token where nobody waits; 0 before any request. */
  readMs(model: string): number {
    return this.#accounts.peek(model)?.readMs ?? 0;
  }

  /** The 95th percentile of what was predicted in the last minute; null without any. */
  predictedTtftMs(model: string, nowMs: number): number | null {
    const recent = this.#accounts.peek(model)?.recent ?? [];
    while (recent.length > 0 && recent[0]!.atMs < nowMs - RECENT_MS) recent.shift();
    const sorted = recent.map(({ ttftMs }) => ttftMs).sort((a, b) => a - b);
    return sorted[Math.ceil(sorted.length * TAIL_SHARE) - 1] ?? null;
  }

  #of(model: string): Account {
    const known = this.#accounts.get(model);
    if (known !== undefined) return known;
    const account: Account = { ...noDemand, readMs: 0, recent: [] };
    this.#accounts.set(model, account);
    return account;
  }
}
