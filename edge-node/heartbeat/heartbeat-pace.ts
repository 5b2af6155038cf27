// When to send the next heartbeat: every period, and sooner after a change, but never faster than
// a minimum gap, so that a burst of changes is told once.

export const HEARTBEAT_PERIOD_MS = 500;
export const HEARTBEAT_GAP_MS = 50;

export class HeartbeatPace {
  #sentMs = Number.NEGATIVE_INFINITY;
  #isChanged = true;

  /** Something that heartbeats tell is different now. */
  changed(): void {
    this.#isChanged = true;
  }

  sent(nowMs: number): void {
    this.#sentMs = nowMs;
    this.#isChanged = false;
  }

  /** When the next one is due, on the scale of `sent`; in the past when it is overdue. */
  get dueMs(): number {
    return this.#sentMs + (this.#isChanged ? HEARTBEAT_GAP_MS : HEARTBEAT_PERIOD_MS);
  }
}
