// Decides who may use a model's slots: admitted at once, queued within a bound, or rejected. It
// performs nothing: each call takes the time and returns what became of whom.
//
// Interactive requests go before batch ones, first come first served within each. Two rules keep
// one kind from shutting the other out: batch may fill at most half of the queue, and after
// BATCH_TURN interactive grants in a row a waiting batch request gets the next slot.
import { ServiceTime } from "./service-time.ts";

export const BATCH_TURN = 8;
const RETRY_AFTER_MIN_MS = 100;
const RETRY_AFTER_MAX_MS = 60_000;

export type AdmissionPriority = "interactive" | "batch";

export interface Ticket {
  readonly id: number;
  readonly priority: AdmissionPriority;
  /** By when it must have started; Infinity for whenever. Same time scale as `nowMs`. */
  readonly deadlineMs: number;
}

export type Arrival =
  | { readonly kind: "admitted" }
  | { readonly kind: "queued"; readonly ahead: number }
  | {
      readonly kind: "rejected";
      /** `full`: the queue is; `too-late`: it could not start before its deadline. */
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

export class AdmissionQueue {
  readonly #queueMax: number;
  readonly #waiting: Record<AdmissionPriority, Ticket[]> = { interactive: [], batch: [] };
  /** Since when each request has had its slot. */
  readonly #active = new Map<number, number>();
  readonly #serviceTime = new ServiceTime();
  #slots: number;
  #interactiveInARow = 0;

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

  /** When `expire` has work next; Infinity if never. */
  get nextDeadlineMs(): number {
    let next = Number.POSITIVE_INFINITY;
    for (const ticket of this.#all()) next = Math.min(next, ticket.deadlineMs);
    return next;
  }

  /** Requires: an id that is not in use. */
  arrive(ticket: Ticket, nowMs: number): Arrival {
    if (ticket.deadlineMs <= nowMs) return this.#reject("too-late", 0);
    if (this.#active.size < this.#slots && this.queued === 0) {
      this.#grant(ticket, nowMs);
      return { kind: "admitted" };
    }
    if (!this.#hasRoomFor(ticket.priority)) return this.#reject("full", this.queued);
    const ahead =
      ticket.priority === "interactive" ? this.#waiting.interactive.length : this.queued;
    if (this.#serviceTime.isMeasured && nowMs + this.#waitMs(ahead) > ticket.deadlineMs) {
      return this.#reject("too-late", ahead);
    }
    this.#waiting[ticket.priority].push(ticket);
    return { kind: "queued", ahead };
  }

  /** An active request has ended, however it ended; its slot goes to the next. */
  release(id: number, nowMs: number): QueueChange {
    const sinceMs = this.#active.get(id);
    if (sinceMs !== undefined) this.#serviceTime.add(nowMs - sinceMs);
    this.#active.delete(id);
    return this.#settle(nowMs);
  }

  /** The caller of a waiting request is gone. Returns false when it was not waiting. */
  withdraw(id: number): boolean {
    for (const queue of Object.values(this.#waiting)) {
      const at = queue.findIndex((ticket) => ticket.id === id);
      if (at < 0) continue;
      queue.splice(at, 1);
      return true;
    }
    return false;
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

  #hasRoomFor(priority: AdmissionPriority): boolean {
    if (this.queued >= this.#queueMax) return false;
    const batchMax = Math.floor(this.#queueMax / 2);
    return priority === "interactive" || this.#waiting.batch.length < batchMax;
  }

  /** How long one waits behind `ahead` others: a slot comes free every mean/slots. */
  #waitMs(ahead: number): number {
    return ((ahead + 1) * this.#serviceTime.meanMs) / Math.max(1, this.#slots);
  }

  #reject(reason: "full" | "too-late", ahead: number): Arrival {
    const waitMs = Math.ceil(this.#waitMs(ahead));
    const retryAfterMs = Math.min(Math.max(waitMs, RETRY_AFTER_MIN_MS), RETRY_AFTER_MAX_MS);
    return { kind: "rejected", reason, retryAfterMs };
  }

  #settle(nowMs: number): QueueChange {
    const evicted: number[] = [];
    for (const ticket of [...this.#all()]) {
      if (ticket.deadlineMs > nowMs) continue;
      this.withdraw(ticket.id);
      evicted.push(ticket.id);
    }
    const admitted: number[] = [];
    while (this.#active.size < this.#slots) {
      const ticket = this.#next();
      if (ticket === undefined) break;
      this.#grant(ticket, nowMs);
      admitted.push(ticket.id);
    }
    return { admitted, evicted };
  }

  #next(): Ticket | undefined {
    const { interactive, batch } = this.#waiting;
    const isBatchTurn = batch.length > 0 && this.#interactiveInARow >= BATCH_TURN;
    return isBatchTurn ? batch.shift() : (interactive.shift() ?? batch.shift());
  }

  #grant(ticket: Ticket, nowMs: number): void {
    this.#active.set(ticket.id, nowMs);
    this.#interactiveInARow = ticket.priority === "interactive" ? this.#interactiveInARow + 1 : 0;
  }

  *#all(): Generator<Ticket> {
    yield* this.#waiting.interactive;
    yield* this.#waiting.batch;
  }
}
