// Which edge made which completion, for a bounded time and by id alone: what a gateway needs to
// pass feedback on. No text is kept here.
import { LRUCache } from "lru-cache";
import type { Clock } from "../../runtime/clock.ts";
import { completionKey } from "../../runtime/frontend/feedback/completion-key.ts";
import type { InferenceBackend } from "../../runtime/inference/backend.ts";

export interface Maker {
  readonly edge: string;
  readonly region: string;
}

const ENTRIES_MAX = 1 << 16;
const KEY_LENGTH_MAX = 200;
const MINUTE_MS = 60_000;
/** As long as edges remember what they answered, by default. */
export const SERVED_MINUTES = 60;

export class ServedCompletions {
  readonly #makers: LRUCache<string, Maker>;

  constructor(clock: Clock) {
    this.#makers = new LRUCache({
      max: ENTRIES_MAX,
      ttl: SERVED_MINUTES * MINUTE_MS,
      ttlResolution: 0,
      perf: { now: () => clock.monotonicMs() },
    });
  }

  makerOf(key: string): Maker | undefined {
    return this.#makers.get(key);
  }

  note(key: string, maker: Maker): void {
    if (key.length <= KEY_LENGTH_MAX) this.#makers.set(key, maker);
  }
}

/** The same backend; the last edge of a stream that moved is taken for its maker. */
export function noting(backend: InferenceBackend, served: ServedCompletions): InferenceBackend {
  return {
    generate(request, context, onEvent) {
      const key = completionKey(context.requestId, context.choice ?? 0);
      return backend.generate(request, context, (response) => {
        const { case: kind, value } = response.event;
        if (kind === "started") served.note(key, { edge: value.edge, region: value.region });
        const move = kind === "finished" ? value.moves.at(-1) : undefined;
        if (move) served.note(key, { edge: move.toEdge, region: move.toRegion });
        onEvent(response);
      });
    },
    embed: (request, context) => backend.embed(request, context),
    score: (request, context) => backend.score(request, context),
    listModels: () => backend.listModels(),
  };
}
