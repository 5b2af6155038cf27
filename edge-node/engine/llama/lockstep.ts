// Drives all sequences of a model together: in each step every running stream gets one token and
// the newcomers read a share of their prompts, all in one batch. Free-running generators would
// keep missing each other's batches and halve the throughput.
// Joins and leaves happen only between steps.
import { prefillTurns } from "../prefill-turns.ts";

/** Something that occupies a sequence for a while. */
export interface LockstepRun {
  /** Index of the sequence in its context. */
  readonly sequence: number;
  /** Prompt tokens still to be read; 0 once it generates. */
  readonly wanted: number;
  /** True once it has nothing more to do. */
  readonly over: boolean;
  /** Reads `tokens` tokens of the prompt, or generates one token when nothing is wanted. */
  step(tokens: number): Promise<void>;
  /** The step threw: tells the caller. `over` is true from here on. */
  fail(problem: unknown): void;
  /** Gives the sequence back; called once, between steps. */
  leave(): Promise<void>;
}

export interface LockstepHooks {
  /** Called between steps while jobs wait; may add runs. */
  admit(): Promise<void>;
  waiting(): boolean;
  stepping(): void;
  /** Called after each step with what it did. */
  stepped(streams: number, prefillTokens: number): void;
  /** Called after runs have left. */
  left(): void;
}

export class Lockstep {
  readonly #hooks: LockstepHooks;
  #runs: LockstepRun[] = [];
  #turn = 0;
  #closed = false;
  #wake: () => void = () => {};

  constructor(hooks: LockstepHooks) {
    this.#hooks = hooks;
  }

  get active(): number {
    return this.#runs.length;
  }

  /**
   * Joins at the next step. Runs step in the order of their sequences: llama.cpp decodes only
   * ascending neighbours in one batch, and any other order costs a batch of its own.
   */
  add(run: LockstepRun): void {
    this.#runs.push(run);
    this.#runs.sort((left, right) => left.sequence - right.sequence);
  }

  /** Something changed while nothing ran: a job waits, or a run was cancelled. */
  wake(): void {
    this.#wake();
  }

  close(): void {
    this.#closed = true;
    this.#wake();
  }

  /** Runs until closed. */
  async run(): Promise<void> {
    while (!this.#closed) {
      await this.#leaveFinished();
      if (this.#hooks.waiting()) await this.#hooks.admit();
      if (this.#runs.length === 0) {
        if (!this.#closed && !this.#hooks.waiting()) await this.#idle();
        continue;
      }
      await this.#step();
    }
  }

  async #step(): Promise<void> {
    const newcomers = this.#runs.filter((run) => run.wanted > 0);
    const streams = this.#runs.length - newcomers.length;
    const wanted = newcomers.map((run) => run.wanted);
    const turns = prefillTurns(wanted, streams, this.#turn++);
    const shares = new Map(newcomers.map((run, index) => [run, turns[index]!]));
    this.#hooks.stepping();
    const steps: Promise<void>[] = [];
    for (const run of this.#runs) {
      const tokens = shares.get(run) ?? 0;
      // A newcomer without a share this time waits.
      if (tokens > 0 || !shares.has(run)) steps.push(guarded(run, tokens));
    }
    await Promise.all(steps);
    this.#hooks.stepped(
      streams,
      turns.reduce((sum, tokens) => sum + tokens, 0),
    );
  }

  async #leaveFinished(): Promise<void> {
    if (!this.#runs.some((run) => run.over)) return;
    const leaving = this.#runs.filter((run) => run.over);
    this.#runs = this.#runs.filter((run) => !run.over);
    for (const run of leaving) await run.leave();
    this.#hooks.left();
  }

  async #idle(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    this.#wake = () => {};
  }
}

async function guarded(run: LockstepRun, tokens: number): Promise<void> {
  try {
    await run.step(tokens);
  } catch (problem) {
    run.fail(problem);
  }
}
