// Waiting for what other processes do: asked again and again, and never for ever.
import { systemClock } from "../../runtime/clock.ts";

const LOOK_EVERY_MS = 200;

/** What was waited for did not come; the message says what, and how it stood at last. */
export class TooLate extends Error {
  override readonly name = "TooLate";
}

export interface Wait {
  readonly what: string;
  readonly withinMs: number;
  readonly everyMs?: number;
  readonly signal?: AbortSignal;
}

/** The first answer that isn't a text; a text says what is still missing. Faults: TooLate. */
export async function until<T>(
  { what, withinMs, everyMs = LOOK_EVERY_MS, signal }: Wait,
  look: () => Promise<T | string> | T | string,
): Promise<T> {
  const endMs = systemClock.monotonicMs() + withinMs;
  for (;;) {
    signal?.throwIfAborted();
    const found = await look();
    if (typeof found !== "string") return found;
    if (systemClock.monotonicMs() > endMs) {
      throw new TooLate(`${what}: not within ${Math.round(withinMs / 1000)} s: ${found}`);
    }
    await pause(everyMs);
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => systemClock.after(ms, resolve));
}
