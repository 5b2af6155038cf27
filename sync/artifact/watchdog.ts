// Aborts a transfer that has gone silent, so that a frozen peer never holds it.
import type { Clock } from "../../runtime/clock.ts";

export class Watchdog {
  readonly #clock: Clock;
  readonly #silenceMs: number;
  readonly #controller = new AbortController();
  readonly #outer: AbortSignal | undefined;
  #timer: { cancel(): void };

  constructor(clock: Clock, silenceMs: number, outer?: AbortSignal) {
    this.#clock = clock;
    this.#silenceMs = silenceMs;
    this.#outer = outer;
    if (outer?.aborted) this.#controller.abort(outer.reason);
    outer?.addEventListener("abort", this.#passOn, { once: true });
    this.#timer = this.#arm();
  }

  /** Aborts after the silence, or when the outer signal does. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Something came. */
  feed(): void {
    this.#timer.cancel();
    this.#timer = this.#arm();
  }

  stop(): void {
    this.#timer.cancel();
    this.#outer?.removeEventListener("abort", this.#passOn);
  }

  readonly #passOn = () => this.#controller.abort(this.#outer?.reason);

  #arm(): { cancel(): void } {
    return this.#clock.after(this.#silenceMs, () => {
      this.#controller.abort(new Error(`silent for ${this.#silenceMs} ms`));
    });
  }
}
