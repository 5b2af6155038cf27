// Decides who may use a model's slots: admitted at once, queued within a bound, or rejected. It
// performs nothing: each call takes the time and returns what became of whom.
//
// Interactive requests go before batch ones, and within each the tenants take turns by the slot
// time that they have had. These rules keep one kind, or one tenant, from shutting others out:
// - batch may fill at most half of the queue, and after BATCH_TURN interactive grants in a row a
//   waiting batch request gets the next slot;
// - when the queue is full, the newest request of the tenant with most in it makes room for one of
//   a tenant with fewer: it is displaced, and told to come back;
// - a request that can't meet its deadline by the measured times is refused at once.
import { FairLine } from "./fair-line.ts";
import { ServiceTime } from "./service-time.ts";
import { TenantShares } from "./tenant-shares.ts";

export const BATCH_TURN = 8;
const RETRY_AFTER_MIN_MS = 100;
const RETRY_AFTER_MAX_MS = 60_000;

export type AdmissionPriority = "interactive" | "batch";

export interface Ticket {
  /** Larger than those of earlier tickets. */
  readonly id: number;
  readonly priority: AdmissionPriority;
  /** Empty for the common one. */
  readonly tenant: string;
  /** When its caller stops waiting; Infinity for never. Same time scale as `nowMs`. */
  readonly deadlineMs: number;
  /** The least time that it takes from its slot to its first token; 0 when that is unknown. */
  readonly leastMs: number;
}

export type Arrival =
  | { readonly kind: "admitted" }
  | {
      readonly kind: "queued";
      readonly ahead: number;
      /** The one that made room for it, whose wait has ended without a slot. */
      readonly displaced: number | null;
    }
  | {
      readonly kind: "rejected";
      /** `full`: the queue is; `too-late`: it could not answer before its deadline. */
      readonly reason: "full" | "too-late";
      readonly retryAfterMs: number;
    };

/** What a call brought about for requests that waited. */
export interface QueueChange {
  readonly admitted: readonly number[];
  /** Their deadline passed while they waited. */
  readonly evicted: readonly number[];
}

export interface AdmissionBounds {
  readonly slots: number;
  readonly queueMax: number;
}

interface Queued extends Ticket {
  readonly account: string;
}

interface Active {
  readonly account: string;
  readonly sinceMs: number;
  readonly expectedMs: number;
}

const noChange: QueueChange = { admitted: [], evicted: [] };

export class AdmissionQueue {
  readonly #queueMax: number;
  readonly #shares = new TenantShares();
  readonly #waiting: Record<AdmissionPriority, FairLine<Queued>> = {
    interactive: new FairLine(this.#shares),
    batch: new FairLine(this.#shares),
  };
  readonly #active = new Map<number, Active>();
  readonly #serviceTime = new ServiceTime();
  #slots: number;
  #interactiveInARow = 0;
  #nextDeadlineMs = Number.POSITIVE_INFINITY;

  constructor(bounds: AdmissionBounds) {
    this.#slots = bounds.slots;
    this.#queueMax = bounds.queueMax;
  }

  get slots(): number {
    return this.#slots;
  }

  get active(): number {
    return this.#active.size;
  }

  get queued(): number {
    return this.#waiting.interactive.length + this.#waiting.batch.length;
  }

  /** When `expire` may have work next, never later than it has; Infinity if never. */
  get nextDeadlineMs(): number {
    return this.#nextDeadlineMs;
  }

  /** When one that was displaced or refused now should come back. */
  get retryAfterMs(): number {
    return retryAfter(this.#waitMs(this.queued));
  }

  /** Requires: an id that is not in use. */
  arrive(ticket: Ticket, nowMs: number): Arrival {
    if (ticket.deadlineMs <= nowMs) return tooLate(0);
    const isFree = this.#active.size < this.#slots && this.queued === 0;
    const account = this.#shares.enter(ticket.tenant);
    const arrival = isFree
      ? this.#start({ ...ticket, account }, nowMs)
      : this.#queue({ ...ticket, account }, nowMs);
    if (arrival.kind === "rejected") this.#shares.leave(account);
    return arrival;
  }

  /** An active request has ended, however it ended; its slot goes to the next. */
  release(id: number, nowMs: number): QueueChange {
    const active = this.#active.get(id);
    if (active === undefined) return this.#settle(nowMs);
    const tookMs = nowMs - active.sinceMs;
    this.#serviceTime.add(tookMs);
    this.#shares.correct(active.account, tookMs - active.expectedMs);
    this.#shares.leave(active.account);
    this.#active.delete(id);
    return this.#settle(nowMs);
  }

  /** The caller of a waiting request is gone. Returns false when it was not waiting. */
  withdraw(id: number): boolean {
    const { interactive, batch } = this.#waiting;
    const ticket = interactive.remove(id) ?? batch.remove(id);
    if (ticket !== undefined) this.#shares.leave(ticket.account);
    return ticket !== undefined;
  }

  /** Drops those whose deadline has passed. */
  expire(nowMs: number): QueueChange {
    return this.#settle(nowMs);
  }

  /** Changes how many may be active; those above a lower number end in their own time. */
  resize(slots: number, nowMs: number): QueueChange {
    this.#slots = slots;
    return this.#settle(nowMs);
  }

  #start(ticket: Queued, nowMs: number): Arrival {
    const isTooLate = nowMs + ticket.leastMs > ticket.deadlineMs;
    if (isTooLate) return tooLate(0);
    this.#grant(ticket, nowMs);
    return { kind: "admitted" };
  }

  #queue(ticket: Queued, nowMs: number): Arrival {
    const { priority, account, deadlineMs, leastMs } = ticket;
    const ahead = this.#aheadOf(priority, account);
    const waitMs = this.#waitMs(ahead);
    if (this.#serviceTime.isMeasured && nowMs + waitMs + leastMs > deadlineMs) {
      return tooLate(waitMs);
    }
    const displaced = this.#hasRoomFor(priority) ? null : this.#displaceFor(ticket);
    if (displaced === undefined) {
      return { kind: "rejected", reason: "full", retryAfterMs: this.retryAfterMs };
    }
    this.#waiting[priority].push(ticket);
    this.#nextDeadlineMs = Math.min(this.#nextDeadlineMs, deadlineMs);
    return { kind: "queued", ahead, displaced };
  }

  #hasRoomFor(priority: AdmissionPriority): boolean {
    if (this.queued >= this.#queueMax) return false;
    const batchMax = Math.floor(this.#queueMax / 2);
    return priority === "interactive" || this.#waiting.batch.length < batchMax;
  }

  /** Takes out the newest of the tenant that has most, if that is more than this one would have. */
  #displaceFor({ priority, account }: Queued): number | undefined {
    const { interactive, batch } = this.#waiting;
    const lengthOf = (name: string) => interactive.lengthOf(name) + batch.lengthOf(name);
    const lines = priority === "batch" ? [batch] : [batch, interactive];
    let most = lengthOf(account) + 1;
    let from: string | undefined;
    for (const line of lines) {
      for (const name of line.accounts()) {
        if (lengthOf(name) <= most) continue;
        most = lengthOf(name);
        from = name;
      }
    }
    if (from === undefined) return undefined;
    const line = lines.find((each) => each.lengthOf(from) > 0);
    const displaced = line?.pop(from);
    if (displaced !== undefined) this.#shares.leave(displaced.account);
    return displaced?.id;
  }

  /** How many get a slot before a newcomer does. */
  #aheadOf(priority: AdmissionPriority, account: string): number {
    const { interactive, batch } = this.#waiting;
    const own = this.#waiting[priority].aheadOf(account);
    return priority === "interactive"
      ? own + Math.min(batch.length, Math.floor(own / BATCH_TURN))
      : own + Math.min(interactive.length, BATCH_TURN * (own + 1));
  }

  /** How long one waits behind `ahead` others: a slot comes free every mean/slots. */
  #waitMs(ahead: number): number {
    return ((ahead + 1) * this.#serviceTime.meanMs) / Math.max(1, this.#slots);
  }

  #settle(nowMs: number): QueueChange {
    if (this.queued === 0) {
      this.#nextDeadlineMs = Number.POSITIVE_INFINITY;
      return noChange;
    }
    const evicted = nowMs < this.#nextDeadlineMs ? [] : this.#evict(nowMs);
    const admitted: number[] = [];
    while (this.#active.size < this.#slots) {
      const ticket = this.#next();
      if (ticket === undefined) break;
      this.#grant(ticket, nowMs);
      admitted.push(ticket.id);
    }
    return { admitted, evicted };
  }

  #evict(nowMs: number): number[] {
    const evicted: number[] = [];
    this.#nextDeadlineMs = Number.POSITIVE_INFINITY;
    for (const { id, deadlineMs } of this.#all()) {
      if (deadlineMs <= nowMs) evicted.push(id);
      else this.#nextDeadlineMs = Math.min(this.#nextDeadlineMs, deadlineMs);
    }
    for (const id of evicted) this.withdraw(id);
    return evicted;
  }

  #next(): Queued | undefined {
    const { interactive, batch } = this.#waiting;
    const isBatchTurn = batch.length > 0 && this.#interactiveInARow >= BATCH_TURN;
    return isBatchTurn ? batch.shift() : (interactive.shift() ?? batch.shift());
  }

  #grant({ id, account, priority }: Queued, nowMs: number): void {
    const expectedMs = this.#serviceTime.meanMs;
    this.#shares.grant(account, expectedMs);
    this.#active.set(id, { account, sinceMs: nowMs, expectedMs });
    this.#interactiveInARow = priority === "interactive" ? this.#interactiveInARow + 1 : 0;
  }

  *#all(): Generator<Queued> {
    yield* this.#waiting.interactive;
    yield* this.#waiting.batch;
  }
}

function tooLate(waitMs: number): Arrival {
  return { kind: "rejected", reason: "too-late", retryAfterMs: retryAfter(waitMs) };
}

function retryAfter(waitMs: number): number {
  return Math.min(Math.max(Math.ceil(waitMs), RETRY_AFTER_MIN_MS), RETRY_AFTER_MAX_MS);
}
