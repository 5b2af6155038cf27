// How long one request keeps a slot, learnt from those that did: an exponentially weighted mean.

/** Weight of the newest measurement. */
const WEIGHT = 0.2;
/** What to tell a caller before anything was measured. */
const UNMEASURED_MS = 1000;

export class ServiceTime {
  #meanMs: number | undefined;

  add(durationMs: number): void {
    this.#meanMs =
      this.#meanMs === undefined ? durationMs : this.#meanMs + WEIGHT * (durationMs - this.#meanMs);
  }

  get isMeasured(): boolean {
    return this.#meanMs !== undefined;
  }

  get meanMs(): number {
    return this.#meanMs ?? UNMEASURED_MS;
  }
}
