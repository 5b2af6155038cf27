// Which source to ask next for an artifact, after how long, and when to give up. Pure: told how an
// attempt ended, it returns the next step.

/** Failed attempts in a row, for each source, before giving up. */
const FAILURES_PER_SOURCE_MAX = 5;
/** Answers "I am fetching it myself, come again" before giving up: an hour at the usual pace. */
const BUSY_ANSWERS_MAX = 1200;
const FIRST_DELAY_MS = 100;
const DELAY_MAX_MS = 5_000;

export type PullOutcome =
  /** The source answered, and the link broke after at least one new byte. */
  | { readonly kind: "progress" }
  /** No new byte: refused, absent, silent, broken. */
  | { readonly kind: "failed"; readonly reason: string }
  /** It will have it soon. */
  | { readonly kind: "busy"; readonly retryAfterMs: number }
  /** All bytes of this one source hash to something else. */
  | { readonly kind: "corrupt"; readonly reason: string };

export type PullStep =
  | { readonly kind: "ask"; readonly source: string; readonly afterMs: number }
  | { readonly kind: "give-up"; readonly reason: string };

export class PullPlan {
  readonly #sources: string[];
  #turn = 0;
  #failures = 0;
  #busy = 0;
  #reason = "no source is known";

  constructor(sources: readonly string[]) {
    this.#sources = [...new Set(sources)];
  }

  first(): PullStep {
    return this.#ask(0);
  }

  next(outcome: PullOutcome): PullStep {
    switch (outcome.kind) {
      case "progress":
        this.#failures = 0;
        return this.#ask(0);
      case "busy":
        this.#busy += 1;
        this.#reason = "the source is still fetching it";
        if (this.#busy > BUSY_ANSWERS_MAX) return this.#giveUp();
        return this.#ask(Math.min(outcome.retryAfterMs, DELAY_MAX_MS));
      case "corrupt":
        this.#reason = outcome.reason;
        this.#sources.splice(this.#turn % Math.max(1, this.#sources.length), 1);
        return this.#ask(0);
      case "failed":
        this.#reason = outcome.reason;
        this.#failures += 1;
        this.#turn += 1;
        if (this.#failures >= FAILURES_PER_SOURCE_MAX * this.#sources.length) {
          return this.#giveUp();
        }
        return this.#ask(this.#delayMs());
    }
  }

  /** The next source at once; a pause after each turn around all of them, doubling. */
  #delayMs(): number {
    if (this.#failures % this.#sources.length !== 0) return 0;
    const turns = this.#failures / this.#sources.length;
    return Math.min(FIRST_DELAY_MS * 2 ** (turns - 1), DELAY_MAX_MS);
  }

  #ask(afterMs: number): PullStep {
    const source = this.#sources[this.#turn % Math.max(1, this.#sources.length)];
    return source === undefined ? this.#giveUp() : { kind: "ask", source, afterMs };
  }

  #giveUp(): PullStep {
    return { kind: "give-up", reason: this.#reason };
  }
}
