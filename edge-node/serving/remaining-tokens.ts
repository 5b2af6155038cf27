// How much the streams at work have still to produce, as far as one can tell: completions are
// expected to be as long as those before them, and never longer than they may be.

/** Weight of the newest completion in the mean length. */
const WEIGHT = 0.1;
/** Expected length before any completion has ended. */
const UNMEASURED_TOKENS = 64;

/** One stream at work. */
export interface TokenCount {
  add(tokens: number): void;
  /** Once, however the stream ended. */
  end(): void;
}

interface Stream {
  readonly maxTokens: number;
  delivered: number;
}

export class RemainingTokens {
  readonly #streams = new Set<Stream>();
  #meanLength = UNMEASURED_TOKENS;

  /** `maxTokens` 0 means no bound; `delivered` counts what a resumed stream has already. */
  begin(maxTokens: number, delivered: number): TokenCount {
    const bound = maxTokens === 0 ? Number.POSITIVE_INFINITY : maxTokens;
    const stream: Stream = { maxTokens: bound, delivered };
    this.#streams.add(stream);
    return {
      add: (tokens) => {
        stream.delivered += tokens;
      },
      end: () => {
        this.#streams.delete(stream);
        this.#meanLength += WEIGHT * (stream.delivered - this.#meanLength);
      },
    };
  }

  /** Mean over the streams at work; 0 without any. One that is overdue counts as one token. */
  get mean(): number {
    if (this.#streams.size === 0) return 0;
    let sum = 0;
    for (const { maxTokens, delivered } of this.#streams) {
      sum += Math.max(1, Math.min(this.#meanLength, maxTokens) - delivered);
    }
    return sum / this.#streams.size;
  }
}
