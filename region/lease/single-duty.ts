// Something that only one process of a region may run: started when this process gets the lease,
// stopped when it loses it, as often as that happens, and never twice at once.
import type { Clock, Timer } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import type { Fence } from "./fence.ts";
import type { FolderClaim } from "./folder-claim.ts";
import { noDuty, Tenure } from "./tenure.ts";

/** After a start that failed, or a claim that another process took in spite of the lease. */
const PAUSE_MS = 3000;

export interface SingleDutyOptions<T> {
  /** Whether the lease is this process's now. */
  readonly acts: () => boolean;
  readonly claim: () => FolderClaim;
  readonly start: (fence: Fence) => Promise<T>;
  readonly clock: Clock;
  readonly log: Log;
}

export class SingleDuty<T extends { stop(): Promise<void> }> {
  readonly #options: SingleDutyOptions<T>;
  #running: { readonly work: T; readonly tenure: Tenure } | null = null;
  #turn: Promise<void> = Promise.resolve();
  #pause: Timer | null = null;
  #stopped = false;

  constructor(options: SingleDutyOptions<T>) {
    this.#options = options;
  }

  /** What runs here. Faults: `unavailable` while it doesn't. */
  get current(): T {
    const running = this.#running;
    if (!running?.tenure.isHeld) throw noDuty();
    return running.work;
  }

  get isRunning(): boolean {
    return this.#running?.tenure.isHeld === true;
  }

  /** Begins or ends it, as the lease stands now. Rejects when it can't be started. */
  follow(): Promise<void> {
    const done = this.#turn.then(() => this.#follow());
    this.#turn = done.catch(() => {});
    return done;
  }

  /** Follows the lease by itself; a start that fails is tried again. */
  pursue(): void {
    this.follow().catch((thrown: unknown) => {
      this.#options.log.error({ err: thrown }, "the single duties can't be taken up");
      this.#later();
    });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#pause?.cancel();
    await this.follow();
  }

  async #follow(): Promise<void> {
    const { acts, claim, start, clock, log } = this.#options;
    const running = this.#running;
    if (running !== null) {
      if (!this.#stopped && running.tenure.isHeld) return;
      // Stopping it settles what it has open; its fence keeps it from anything that counts.
      this.#running = null;
      await running.work.stop();
      if (!this.#stopped) log.info({ epoch: running.tenure.epoch }, "single duties end here");
      if (!this.#stopped && acts()) this.#later();
      return;
    }
    if (this.#stopped || this.#pause !== null || !acts()) return;
    const beganMs = clock.monotonicMs();
    const tenure = new Tenure({ claim: claim(), acts, onOver: () => this.pursue() });
    const work = await start(tenure);
    this.#running = { work, tenure };
    const ms = Math.round(clock.monotonicMs() - beganMs);
    log.info({ epoch: tenure.epoch, ms }, "single duties begin here");
  }

  #later(): void {
    this.#pause?.cancel();
    this.#pause = this.#options.clock.after(PAUSE_MS, () => {
      this.#pause = null;
      this.pursue();
    });
  }
}
