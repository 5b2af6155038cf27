// A clock that stands still until a test moves it.
import type { Clock, Timer } from "../../runtime/clock.ts";

interface Pending {
  dueMs: number;
  readonly order: number;
  readonly everyMs: number | null;
  readonly callback: () => void;
}

/** Time that passes only by `advance`; timers fire in the order of their due times. */
export class ManualClock implements Clock {
  readonly #startUnixMs: number;
  #elapsedMs = 0;
  #order = 0;
  readonly #pending = new Set<Pending>();

  constructor(startUnixMs = 1_700_000_000_000) {
    this.#startUnixMs = startUnixMs;
  }

  now(): number {
    return this.#startUnixMs + this.#elapsedMs;
  }

  monotonicMs(): number {
    return this.#elapsedMs;
  }

  after(ms: number, callback: () => void): Timer {
    return this.#add(ms, null, callback);
  }

  every(ms: number, callback: () => void): Timer {
    return this.#add(ms, ms, callback);
  }

  /** How many timers are set. */
  get timers(): number {
    return this.#pending.size;
  }

  /** Lets `ms` pass, calling every timer that comes due at its own time. */
  advance(ms: number): void {
    const untilMs = this.#elapsedMs + ms;
    for (let next = this.#next(untilMs); next; next = this.#next(untilMs)) {
      this.#elapsedMs = next.dueMs;
      if (next.everyMs === null) this.#pending.delete(next);
      else next.dueMs += Math.max(next.everyMs, 1);
      next.callback();
    }
    this.#elapsedMs = untilMs;
  }

  /** Like `advance` in steps, letting promises settle after each. */
  async advanceAsync(ms: number, stepMs = ms): Promise<void> {
    for (let leftMs = ms; leftMs > 0; leftMs -= stepMs) {
      this.advance(Math.min(stepMs, leftMs));
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  #add(ms: number, everyMs: number | null, callback: () => void): Timer {
    const dueMs = this.#elapsedMs + Math.max(ms, 0);
    const pending: Pending = { dueMs, order: this.#order++, everyMs, callback };
    this.#pending.add(pending);
    return { cancel: () => void this.#pending.delete(pending) };
  }

  #next(untilMs: number): Pending | undefined {
    let first: Pending | undefined;
    for (const pending of this.#pending) {
      if (pending.dueMs > untilMs) continue;
      const sooner = first === undefined || pending.dueMs < first.dueMs;
      const tied = first !== undefined && pending.dueMs === first.dueMs;
      if (sooner || (tied && pending.order < first!.order)) first = pending;
    }
    return first;
  }
}
