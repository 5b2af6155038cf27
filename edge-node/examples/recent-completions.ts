// The completions that this edge's callers got lately, so that feedback can name one by its id. In
// memory only, for a bounded time, and never told to anybody.
import { LRUCache } from "lru-cache";
import type { Clock } from "../../runtime/clock.ts";

export interface RecentCompletion {
  readonly model: string;
  readonly version: string;
  /** Null where the request was more than one user's message, which no example can hold. */
  readonly prompt: string | null;
  /** Null where part of the text was made elsewhere. */
  readonly text: string | null;
}

export interface RecentBounds {
  readonly entriesMax: number;
  /** Of texts, in UTF-16 code units. */
  readonly charsMax: number;
  readonly ageMaxMs: number;
}

/** What an entry takes besides its texts. */
const ENTRY_CHARS = 256;
const KEY_LENGTH_MAX = 200;

export class RecentCompletions {
  readonly #entries: LRUCache<string, RecentCompletion>;
  readonly ageMaxMs: number;

  constructor({ entriesMax, charsMax, ageMaxMs }: RecentBounds, clock: Clock) {
    this.ageMaxMs = ageMaxMs;
    this.#entries = new LRUCache({
      max: entriesMax,
      maxSize: charsMax,
      sizeCalculation: ({ prompt, text }) =>
        ENTRY_CHARS + (prompt?.length ?? 0) + (text?.length ?? 0),
      ttl: ageMaxMs,
      ttlResolution: 0,
      perf: { now: () => clock.monotonicMs() },
    });
  }

  remember(key: string, completion: RecentCompletion): void {
    if (key.length <= KEY_LENGTH_MAX) this.#entries.set(key, completion);
  }

  get(key: string): RecentCompletion | undefined {
    return this.#entries.get(key);
  }
}
