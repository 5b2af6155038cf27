// What the streams of one model are doing, measured where their tokens pass: how many still read
// their prompts, how fast tokens follow each other at which load, how much is still to come, and
// how much KV memory they hold.
import { InterTokenTimes } from "./inter-token-times.ts";
import { RemainingTokens } from "./remaining-tokens.ts";

/** What happens to one stream; times are monotonic milliseconds. */
export interface StreamProbe {
  /** The engine has begun to read the prompt. */
  started(promptTokens: number): void;
  tokens(count: number, nowMs: number): void;
  /** Once, however it ended. */
  end(): void;
}

/**
 * Means over the tokens since the window before, without those that waited for another stream's
 * prompt: how much of that is read in a step is bounded elsewhere, and fewer streams wouldn't help.
 */
export interface StreamWindow {
  /** Streams that had the engine's attention; 0 without any token. */
  readonly active: number;
  /** Null without two tokens of one stream. */
  readonly tpotMs: number | null;
}

interface Stream {
  heldTokens: number;
  lastTokenMs: number | null;
  /** What #reads was at the last token. */
  reads: number;
}

export class StreamMeter {
  readonly #streams = new Set<Stream>();
  readonly #remaining = new RemainingTokens();
  readonly #times = new InterTokenTimes();
  /** Beginnings and ends of prompt reading: what differs since a token waited for one. */
  #reads = 0;
  #window = { tokens: 0, waitedMs: 0, load: 0 };

  /** `maxTokens` 0 means no bound; `delivered` counts what a resumed stream has already. */
  begin(maxTokens: number, delivered: number): StreamProbe {
    const stream: Stream = { heldTokens: delivered, lastTokenMs: null, reads: 0 };
    const count = this.#remaining.begin(maxTokens, delivered);
    this.#streams.add(stream);
    this.#reads++;
    return {
      started: (promptTokens) => {
        stream.heldTokens += promptTokens;
      },
      tokens: (tokens, nowMs) => {
        count.add(tokens);
        stream.heldTokens += tokens;
        if (stream.lastTokenMs === null) this.#reads++;
        else if (tokens > 0) {
          const decoding = stream.reads === this.#reads && this.prefilling === 0;
          this.#waited(nowMs - stream.lastTokenMs, tokens, decoding);
        }
        stream.lastTokenMs = nowMs;
        stream.reads = this.#reads;
      },
      end: () => {
        count.end();
        this.#streams.delete(stream);
        if (stream.lastTokenMs === null) this.#reads++;
      },
    };
  }

  /** Streams that have no token yet. */
  get prefilling(): number {
    let count = 0;
    for (const { lastTokenMs } of this.#streams) if (lastTokenMs === null) count++;
    return count;
  }

  /** Tokens whose state the streams at work need. */
  get heldTokens(): number {
    let sum = 0;
    for (const { heldTokens } of this.#streams) sum += heldTokens;
    return sum;
  }

  get remainingTokensMean(): number {
    return this.#remaining.mean;
  }

  get interTokenP99Ms(): number {
    return this.#times.quantile(0.99);
  }

  /** Ends the present window and begins the next. */
  takeWindow(): StreamWindow {
    const { tokens, waitedMs, load } = this.#window;
    this.#window = { tokens: 0, waitedMs: 0, load: 0 };
    if (tokens === 0) return { active: 0, tpotMs: null };
    return { active: Math.round(load / tokens), tpotMs: waitedMs / tokens };
  }

  #waited(durationMs: number, tokens: number, decoding: boolean): void {
    for (let k = 0; k < tokens; k++) this.#times.add(durationMs / tokens);
    if (!decoding) return;
    this.#window.tokens += tokens;
    this.#window.waitedMs += durationMs;
    this.#window.load += tokens * this.#streams.size;
  }
}
