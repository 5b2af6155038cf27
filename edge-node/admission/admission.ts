// Runs work within the slots of one model: performs what the admission queue decides, and turns
// its refusals into faults.
import { Fault } from "../../proto/fault.ts";
import type { Clock, Timer } from "../../runtime/clock.ts";
import { type AdmissionBounds, type AdmissionPriority, AdmissionQueue } from "./admission-queue.ts";

export interface AdmissionOptions extends AdmissionBounds {
  readonly model: string;
  readonly clock: Clock;
  /** Called after every change of what is active or queued. */
  readonly onChange?: () => void;
}

export interface AdmissionRequest {
  readonly priority: AdmissionPriority;
  /** Empty for the common one. */
  readonly tenant: string;
  /** Unix milliseconds at which its caller stops waiting. */
  readonly deadlineMs: number;
  /** The least time that it takes from its slot to its first token; 0 when that is unknown. */
  readonly leastMs: number;
  readonly signal: AbortSignal;
}

interface Waiter {
  admit(): void;
  refuse(fault: Fault): void;
}

export class Admission {
  readonly queueMax: number;
  readonly #model: string;
  readonly #clock: Clock;
  readonly #onChange: () => void;
  readonly #queue: AdmissionQueue;
  readonly #waiters = new Map<number, Waiter>();
  #nextId = 1;
  #expiry: Timer | undefined;
  #isDraining = false;
  #idle: PromiseWithResolvers<void> | undefined;

  constructor(options: AdmissionOptions) {
    this.queueMax = options.queueMax;
    this.#model = options.model;
    this.#clock = options.clock;
    this.#onChange = options.onChange ?? (() => {});
    this.#queue = new AdmissionQueue(options);
  }

  get slots(): number {
    return this.#queue.slots;
  }

  get active(): number {
    return this.#queue.active;
  }

  get queued(): number {
    return this.#queue.queued;
  }

  /**
   * Runs `work` as soon as a slot is free.
   * Faults: `overloaded` (full, or too late for the deadline), `deadline-exceeded` and `cancelled`
   * while it waits, `draining`; and those of `work`.
   */
  async run<T>(request: AdmissionRequest, work: () => Promise<T>): Promise<T> {
    const id = await this.#enter(request);
    try {
      return await work();
    } finally {
      this.#apply(this.#queue.release(id, this.#clock.now()));
    }
  }

  resize(slots: number): void {
    if (slots !== this.#queue.slots) this.#apply(this.#queue.resize(slots, this.#clock.now()));
  }

  /** Takes nothing new and sends away what waits. Resolves when the active ones have ended. */
  async drain(): Promise<void> {
    this.#isDraining = true;
    for (const [id, waiter] of [...this.#waiters]) {
      this.#queue.withdraw(id);
      waiter.refuse(draining("evicted"));
    }
    this.#changed();
    if (this.#queue.active === 0) return;
    this.#idle ??= Promise.withResolvers<void>();
    await this.#idle.promise;
  }

  /** Takes requests again after a drain. */
  reopen(): void {
    this.#isDraining = false;
  }

  async #enter(request: AdmissionRequest): Promise<number> {
    if (this.#isDraining) throw draining("rejected");
    if (request.signal.aborted) throw cancelled("rejected");
    const id = this.#nextId++;
    const { priority, tenant, deadlineMs, leastMs } = request;
    const ticket = { id, priority, tenant, deadlineMs, leastMs };
    const arrival = this.#queue.arrive(ticket, this.#clock.now());
    if (arrival.kind === "rejected") throw this.#refusal(arrival.reason, arrival.retryAfterMs);
    if (arrival.kind === "queued" && arrival.displaced !== null) this.#displace(arrival.displaced);
    this.#changed();
    if (arrival.kind === "queued") await this.#wait(id, request.signal);
    return id;
  }

  #wait(id: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        this.#queue.withdraw(id);
        waiter.refuse(cancelled("evicted"));
        this.#changed();
      };
      const settled = () => {
        this.#waiters.delete(id);
        signal.removeEventListener("abort", onAbort);
      };
      const waiter: Waiter = {
        admit: () => {
          settled();
          resolve();
        },
        refuse: (fault) => {
          settled();
          reject(fault);
        },
      };
      this.#waiters.set(id, waiter);
      signal.addEventListener("abort", onAbort, { once: true });
    });
  }

  #displace(id: number): void {
    const message = `the queue of ${this.#model} is full, and others have had less of it`;
    const { retryAfterMs } = this.#queue;
    this.#waiters
      .get(id)
      ?.refuse(new Fault("overloaded", message, { stage: "evicted", retryAfterMs }));
  }

  #refusal(reason: "full" | "too-late", retryAfterMs: number): Fault {
    const message =
      reason === "full"
        ? `all slots and the queue of ${this.#model} are full`
        : `${this.#model} has no free slot before the request's deadline`;
    return new Fault("overloaded", message, { retryAfterMs });
  }

  #apply(change: { admitted: readonly number[]; evicted: readonly number[] }): void {
    for (const id of change.admitted) this.#waiters.get(id)?.admit();
    for (const id of change.evicted) {
      this.#waiters.get(id)?.refuse(
        new Fault("deadline-exceeded", "the deadline passed while the request waited", {
          stage: "evicted",
        }),
      );
    }
    this.#changed();
  }

  #changed(): void {
    this.#expiry?.cancel();
    const nextMs = this.#queue.nextDeadlineMs;
    this.#expiry = Number.isFinite(nextMs)
      ? this.#clock.after(nextMs - this.#clock.now(), () =>
          this.#apply(this.#queue.expire(this.#clock.now())),
        )
      : undefined;
    if (this.#queue.active === 0) {
      this.#idle?.resolve();
      this.#idle = undefined;
    }
    this.#onChange();
  }
}

function draining(stage: "rejected" | "evicted"): Fault {
  return new Fault("draining", "this edge takes no new work", { stage });
}

function cancelled(stage: "rejected" | "evicted"): Fault {
  return new Fault("cancelled", "the caller is gone", { stage });
}
