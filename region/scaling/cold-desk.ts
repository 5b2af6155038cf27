// Keeps requests for a model that no edge of the region serves at the moment, lets each go on by
// itself as soon as one does, and tells those that it can't keep when to come back. The gateway's
// shell around ColdBuffer; how long a start takes is measured (StartUpTimes).
import { LRUCache } from "lru-cache";
import { asFault, Fault } from "../../proto/fault.ts";
import type { Clock, Timer } from "../../runtime/clock.ts";
import { ColdBuffer, type HeldEntry, type Offer } from "./cold-buffer.ts";
import type { HoldBounds } from "./scaling-rules.ts";
import type { StartUpTimes } from "./start-up-times.ts";

export interface ColdDeskOptions {
  readonly bounds: HoldBounds;
  readonly times: StartUpTimes;
  readonly clock: Clock;
  /** Told of each request that is sent away for want of an edge. */
  readonly onRefused?: (model: string) => void;
}

/** One request that may have to wait. */
export interface ColdRequest {
  readonly model: string;
  readonly priority: "interactive" | "batch";
  readonly bytes: number;
  /** Unix milliseconds; Infinity for none. */
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
  /** Whether it may wait here at all. */
  readonly mayWait: boolean;
  /** Whether it failed for want of an edge that serves its model. */
  readonly isCold: (fault: Fault) => boolean;
  /** Whether there is a place for it now. */
  readonly canGo: () => boolean;
}

interface Waiter {
  readonly request: ColdRequest;
  /** Goes on, and returns once it counts where it went: the next one is weighed with it. */
  readonly go: () => void;
  readonly refuse: (fault: Fault) => void;
}

/** How often it is looked whether one can go on. */
const LOOK_MS = 50;
const MODELS_MAX = 256;
const MS_PER_S = 1000;

const reasons: Record<Exclude<Offer, "held">, string> = {
  full: "no more requests can be kept until one does",
  "model-full": "no more requests for it can be kept until one does",
  "bytes-full": "this one is too large to be kept until one does",
};
const noneKept = "requests are not kept here";

export class ColdDesk {
  readonly #options: ColdDeskOptions;
  readonly #buffer: ColdBuffer<Waiter>;
  /** What the last request for a model found. */
  readonly #whys = new LRUCache<string, string>({ max: MODELS_MAX });
  #timer: Timer | null = null;

  constructor(options: ColdDeskOptions) {
    this.#options = options;
    this.#buffer = new ColdBuffer(options.bounds);
  }

  /** Requests that wait for a model. */
  count(model: string): number {
    return this.#buffer.count(model);
  }

  models(): readonly string[] {
    return this.#buffer.models();
  }

  /**
   * Runs `work`: at once, or behind those that wait for its model already; again when it was cold
   * and an edge has come up. Requires: `work` has let nothing out when it fails as cold.
   * Faults: `unavailable` with when to come back, when it can't be kept or its patience ends;
   * `deadline-exceeded`, `cancelled`; those of `work`.
   */
  async pass<T>(model: string, made: () => ColdRequest, work: () => Promise<T>): Promise<T> {
    let request: ColdRequest | null = null;
    if (this.#buffer.count(model) === 0) {
      try {
        return await work();
      } catch (thrown) {
        request = made();
        const fault = asFault(thrown);
        if (!request.mayWait || !request.isCold(fault)) throw thrown;
        this.#whys.set(model, fault.message);
      }
    }
    request ??= made();
    return await (request.mayWait ? this.#hold(request, work) : work());
  }

  /** Lets those go that can; called by itself while any wait. */
  look(): void {
    const nowMs = this.#options.clock.monotonicMs();
    for (const waiter of this.#buffer.expire(nowMs)) waiter.refuse(this.#outOfTime(waiter.request));
    for (const model of this.#buffer.models()) {
      for (const entry of [...this.#buffer.waiting(model)]) {
        if (entry.held.request.canGo() && this.#buffer.remove(entry)) entry.held.go();
      }
    }
    this.#schedule();
  }

  /** Sends away whoever waits. */
  stop(): void {
    for (const { refuse } of this.#buffer.expire(Infinity)) {
      refuse(new Fault("draining", "this gateway is stopping", { stage: "evicted" }));
    }
    this.#schedule();
  }

  #hold<T>(request: ColdRequest, work: () => Promise<T>): Promise<T> {
    const { clock, bounds } = this.#options;
    const { model, priority, bytes, signal, deadlineMs } = request;
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const waitMs = Math.min(bounds.patienceMs, deadlineMs - clock.now());
    const leave = () => {
      if (this.#buffer.remove(entry)) reject(goneAway());
      this.#schedule();
    };
    const settle = () => {
      signal.removeEventListener("abort", leave);
      this.#schedule();
    };
    const again = (thrown: unknown) => {
      const isCold = request.isCold(asFault(thrown)) && !signal.aborted;
      if (isCold) this.#keep(entry, leave);
      else reject(thrown);
    };
    const entry: HeldEntry<Waiter> = {
      ...{ model, priority, bytes, untilMs: clock.monotonicMs() + waitMs },
      held: {
        request,
        go: () => {
          settle();
          work().then(resolve, again);
        },
        refuse: (fault) => {
          settle();
          reject(fault);
        },
      },
    };
    if (signal.aborted) reject(goneAway());
    else this.#keep(entry, leave);
    return promise;
  }

  #keep(entry: HeldEntry<Waiter>, leave: () => void): void {
    const { clock, times, bounds } = this.#options;
    const { request, refuse } = entry.held;
    times.missed(request.model, clock.monotonicMs());
    const offer = bounds.patienceMs === 0 ? null : this.#buffer.offer(entry);
    if (offer !== "held") {
      refuse(this.#comeBack(request.model, offer === null ? noneKept : reasons[offer]));
      return;
    }
    request.signal.addEventListener("abort", leave, { once: true });
    this.#schedule();
  }

  #outOfTime({ model, deadlineMs }: ColdRequest): Fault {
    if (deadlineMs <= this.#options.clock.now()) {
      const why = `the deadline passed before an edge could serve ${model}`;
      return new Fault("deadline-exceeded", why, { stage: "evicted" });
    }
    const waitedS = this.#options.bounds.patienceMs / MS_PER_S;
    return this.#comeBack(model, `it has waited ${waitedS} s for one`, "evicted");
  }

  #comeBack(model: string, why: string, stage: "rejected" | "evicted" = "rejected"): Fault {
    const { times, clock, onRefused } = this.#options;
    onRefused?.(model);
    const retryAfterMs = Math.ceil(times.remainingMs(model, clock.monotonicMs()));
    const inS = Math.ceil(retryAfterMs / MS_PER_S);
    const last = this.#whys.get(model) ?? `no edge serves ${model} at the moment`;
    const message = `${last}; ${why}; try again in ${inS} s`;
    return new Fault("unavailable", message, { stage, retryAfterMs });
  }

  #schedule(): void {
    if (this.#buffer.size === 0) {
      this.#timer?.cancel();
      this.#timer = null;
    } else this.#timer ??= this.#options.clock.every(LOOK_MS, () => this.look());
  }
}

function goneAway(): Fault {
  return new Fault("cancelled", "the caller no longer waits for the answer", { stage: "evicted" });
}
