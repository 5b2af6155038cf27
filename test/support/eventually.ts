// Waits for a condition with a deadline: what tests do in place of sleeping.
import { setTimeout as delay } from "node:timers/promises";

const DEADLINE_MS = 40_000;
const EVERY_MS = 25;
/** Characters of the last error that the failure tells. */
const TOLD_MAX = 2000;

/**
 * Asks `probe` until it returns something truthy, and returns that. A probe that throws counts as
 * not yet; past the deadline the claim and the last error are the failure.
 */
export async function eventually<T>(
  claim: string,
  probe: () => T | Promise<T>,
  deadlineMs: number = DEADLINE_MS,
): Promise<NonNullable<Exclude<T, false>>> {
  const endMs = performance.now() + deadlineMs;
  let cause: unknown;
  for (;;) {
    try {
      const result = await probe();
      if (result) return result as NonNullable<Exclude<T, false>>;
      cause = undefined;
    } catch (error) {
      cause = error;
    }
    if (performance.now() > endMs) {
      const last = cause instanceof Error ? `; last: ${cause.message.slice(0, TOLD_MAX)}` : "";
      throw new Error(`not in ${deadlineMs} ms: ${claim}${last}`, { cause });
    }
    await delay(EVERY_MS);
  }
}
