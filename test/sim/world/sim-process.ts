// One process of the simulated mesh: it runs, is frozen, or is dead, and has clocks of its own that
// agree with nobody else's.
import type { Clock, Timer } from "../../../runtime/clock.ts";
import type { EventQueue } from "../kernel/event-queue.ts";

/** Unix time at which simulations begin. */
export const EPOCH_MS = 1_700_000_000_000;

export type ProcessState = "running" | "frozen" | "dead";

export class SimProcess {
  readonly name: string;
  readonly clock: Clock;
  /** How far its wall clock is off. */
  skewMs = 0;
  readonly #queue: EventQueue;
  /** Its monotonic clock began at another time than anybody else's. */
  readonly #monotonicOffsetMs: number;
  #state: ProcessState = "running";
  /** Counts its lives: what belongs to an earlier one never happens. */
  #life = 0;
  #deferred: (() => void)[] = [];
  /** Told whenever the state is another. */
  onState: () => void = () => {};

  constructor(queue: EventQueue, name: string, monotonicOffsetMs: number) {
    this.name = name;
    this.#queue = queue;
    this.#monotonicOffsetMs = monotonicOffsetMs;
    this.clock = {
      now: () => this.wallMs,
      monotonicMs: () => this.monotonicMs,
      after: (ms, callback) => this.#after(ms, callback),
      every: (ms, callback) => this.#every(ms, callback),
    };
  }

  get state(): ProcessState {
    return this.#state;
  }

  get life(): number {
    return this.#life;
  }

  get isRunning(): boolean {
    return this.#state === "running";
  }

  get wallMs(): number {
    return EPOCH_MS + this.#queue.nowMs + this.skewMs;
  }

  get monotonicMs(): number {
    return this.#queue.nowMs + this.#monotonicOffsetMs;
  }

  /** Runs now; or once it is thawed; or never, when it is dead. */
  run(work: () => void): void {
    if (this.#state === "running") work();
    else if (this.#state === "frozen") this.#deferred.push(work);
  }

  freeze(): void {
    if (this.#state === "running") this.#become("frozen");
  }

  thaw(): void {
    if (this.#state !== "frozen") return;
    this.#become("running");
    const deferred = this.#deferred;
    this.#deferred = [];
    for (const work of deferred) this.#queue.after(0, work);
  }

  kill(): void {
    this.#become("dead");
    this.#life += 1;
    this.#deferred = [];
  }

  start(): void {
    this.#become("running");
  }

  #become(state: ProcessState): void {
    this.#state = state;
    this.onState();
  }

  #after(ms: number, callback: () => void): Timer {
    const life = this.#life;
    let isOver = false;
    const scheduled = this.#queue.after(ms, () => {
      this.run(() => {
        if (isOver || life !== this.#life) return;
        this.#queue.hasPromises = true;
        callback();
      });
    });
    return {
      cancel: () => {
        isOver = true;
        scheduled.cancel();
      },
    };
  }

  #every(ms: number, callback: () => void): Timer {
    let isOver = false;
    let timer: Timer;
    const again = () => {
      if (isOver) return;
      timer = this.#after(ms, again);
      callback();
    };
    timer = this.#after(ms, again);
    return {
      cancel: () => {
        isOver = true;
        timer.cancel();
      },
    };
  }
}
