// Takes this edge out of service, and back: told by an operator, new work is refused at once, what
// runs may end within a grace, and what is left then breaks off with a fault that moves it to other
// edges. Nothing of it is remembered: an edge that is started anew isn't draining.
import type { Clock, Timer } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";

/** What a drain does to the requests of this edge. */
export interface Drainable {
  readonly inFlight: number;
  drain(): Promise<void>;
  reopen(): void;
  interrupt(): void;
}

export interface DrainOptions {
  readonly requests: Drainable;
  readonly clock: Clock;
  readonly log: Log;
  /** Called after every change of `isDraining`. */
  readonly onChange: () => void;
}

export class Drain {
  readonly #options: DrainOptions;
  #isDrained = false;
  #isStopping = false;
  #grace: Timer | undefined;

  constructor(options: DrainOptions) {
    this.#options = options;
  }

  get isDraining(): boolean {
    return this.#isDrained || this.#isStopping;
  }

  /** Told again, the grace begins again. */
  begin(graceMs: number): void {
    const { requests, clock, log, onChange } = this.#options;
    if (this.#isStopping) return;
    this.#isDrained = true;
    void requests.drain();
    this.#grace?.cancel();
    this.#grace = clock.after(graceMs, () => {
      const { inFlight } = requests;
      if (inFlight > 0) log.info({ inFlight }, "the grace is over: streams move to other edges");
      requests.interrupt();
    });
    log.info({ graceMs, inFlight: requests.inFlight }, "draining");
    onChange();
  }

  /** Takes work again. */
  takeBack(): void {
    const { requests, log, onChange } = this.#options;
    if (this.#isStopping || !this.#isDrained) return;
    this.#isDrained = false;
    this.#grace?.cancel();
    requests.reopen();
    log.info("no longer draining");
    onChange();
  }

  /** For good: resolves when nothing runs any more, at the latest after `withinMs`. */
  async stop(withinMs: number): Promise<void> {
    const { requests, clock, log, onChange } = this.#options;
    this.#isStopping = true;
    this.#grace?.cancel();
    const late = Promise.withResolvers<void>();
    const timer = clock.after(withinMs, () => {
      log.warn({ inFlight: requests.inFlight }, "streams are cut that didn't end in time");
      requests.interrupt();
      late.resolve();
    });
    const drained = requests.drain();
    onChange();
    await Promise.race([drained, late.promise]);
    timer.cancel();
  }
}
