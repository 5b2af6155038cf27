// Waiting on a clock that can be cut short.
import { Fault } from "../../proto/fault.ts";
import type { Clock } from "../../runtime/clock.ts";

/** Resolves after `durationMs`. Faults: `cancelled` as soon as the signal aborts. */
export function pause(clock: Clock, durationMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const cancelled = () => {
      timer?.cancel();
      reject(new Fault("cancelled", "cancelled while waiting"));
    };
    if (signal?.aborted) {
      reject(new Fault("cancelled", "cancelled before waiting"));
      return;
    }
    if (durationMs <= 0) {
      resolve();
      return;
    }
    const timer = clock.after(durationMs, () => {
      signal?.removeEventListener("abort", cancelled);
      resolve();
    });
    signal?.addEventListener("abort", cancelled, { once: true });
  });
}
