// A question about one completion, and whoever works on it to answer: what a relay asks when it
// has heard no token for suspiciously long.

/**
 * `waiting` for its turn, `reading` its prompt, `generating`. `silentMs` tells how long nothing was
 * heard of the worker itself (the engine's process), whatever it works on.
 */
export interface Standing {
  readonly phase: "waiting" | "reading" | "generating";
  readonly silentMs: number;
}

/** Null when the completion isn't known, or nobody can say. */
export type Answer = Standing | null;

/** Where whoever takes a completion up leaves a way to ask after it. */
export class Inquiry {
  #answer: () => Answer | Promise<Answer> = () => ({ phase: "waiting", silentMs: 0 });

  /** From now on `answer` is asked; the last to take the completion up knows best. */
  answeredBy(answer: () => Answer | Promise<Answer>): void {
    this.#answer = answer;
  }

  /** Until somebody has taken it up, it waits for its turn. */
  async ask(): Promise<Answer> {
    return await this.#answer();
  }
}
