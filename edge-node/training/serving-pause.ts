// Pauses a trainer while this edge serves requests, by what its admission says.

import type { Clock } from "../../runtime/clock.ts";
import { decidePause, type PauseRules, type PauseState, running } from "./pause-schedule.ts";

const LOOK_EVERY_MS = 100;
const TURN_MS = 1000;
const QUIET_MS = 250;

/** Something that can be stopped in its tracks and sent on. */
export interface Pausable {
  pause(): void;
  resume(): void;
}

export interface ServingPauseOptions {
  /** Requests that are served or wait for it. */
  readonly inFlight: () => number;
  /** The share of the time that training gets however busy serving is, above 0 to 1. */
  readonly shareMin: number;
  readonly clock: Clock;
  readonly onChange?: (isPaused: boolean) => void;
}

export class ServingPause {
  readonly #options: ServingPauseOptions;
  readonly #rules: PauseRules;
  #state: PauseState;
  #attached: Pausable | null = null;

  constructor(options: ServingPauseOptions) {
    this.#options = options;
    this.#rules = { shareMin: options.shareMin, turnMs: TURN_MS, quietMs: QUIET_MS };
    this.#state = running(options.clock.monotonicMs());
  }

  get isPaused(): boolean {
    return this.#state.isPaused;
  }

  /**
   * Lets a trainer run and pause until the returned function is called. Requires: none is attached.
   */
  attach(trainer: Pausable): () => void {
    const { clock } = this.#options;
    this.#attached = trainer;
    this.#state = running(clock.monotonicMs());
    const timer = clock.every(LOOK_EVERY_MS, () => this.look());
    this.look();
    return () => {
      timer.cancel();
      this.#attached = null;
      const wasPaused = this.#state.isPaused;
      this.#state = running(clock.monotonicMs());
      if (wasPaused) this.#options.onChange?.(false);
    };
  }

  /** Decides anew; to be called when a request has come or gone, so that none waits for a timer. */
  look(): void {
    if (this.#attached === null) return;
    const { inFlight, clock, onChange } = this.#options;
    const was = this.#state.isPaused;
    const seen = { isBusy: inFlight() > 0, nowMs: clock.monotonicMs() };
    this.#state = decidePause(this.#state, seen, this.#rules);
    if (this.#state.isPaused === was) return;
    if (this.#state.isPaused) this.#attached.pause();
    else this.#attached.resume();
    onChange?.(this.#state.isPaused);
  }
}
