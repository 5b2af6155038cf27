// The one place that knows the time and owns timers. Everything else is given a Clock, so that
// tests and simulations decide what time it is.
import { performance } from "node:perf_hooks";

export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Unix milliseconds. May jump; for records and deadlines that cross processes. */
  now(): number;
  /** Milliseconds that never go back; for durations. */
  monotonicMs(): number;
  /** Calls once, `ms` from now. */
  after(ms: number, callback: () => void): Timer;
  /** Calls every `ms`, first in `ms`. */
  every(ms: number, callback: () => void): Timer;
}

/** The longest delay that Node's timers can hold, about 24.8 days; longer ones are cut to it. */
const DELAY_MAX_MS = 2 ** 31 - 1;

const bounded = (ms: number): number => Math.min(Math.max(ms, 0), DELAY_MAX_MS);

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(ms, callback) {
    const handle = setTimeout(callback, bounded(ms));
    return { cancel: () => clearTimeout(handle) };
  },
  every(ms, callback) {
    const handle = setInterval(callback, bounded(ms));
    return { cancel: () => clearInterval(handle) };
  },
};
