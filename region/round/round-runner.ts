// Runs one regional round: takes inputs one after another, lets the core decide, logs the facts
// before anybody hears of them, then performs the effects. It decides nothing itself.
import { setMaxListeners } from "node:events";
import { join } from "node:path";
import type { Clock } from "../../runtime/clock.ts";
import type { Fence } from "../lease/fence.ts";
import { EventLog } from "./event-log.ts";
import { decideRound, type RoundEffect, type RoundInput, resumeRound } from "./round-decision.ts";
import { decodeEvent, encodeEvent, type RoundEvent, type TrainingStep } from "./round-event.ts";
import { applyRoundEvent, applyTrainingStep, foldRound, type RoundState } from "./round-state.ts";

const LOG_NAME = "round.log";

export interface RunnerOptions {
  readonly clock: Clock;
  readonly fence?: Fence;
  readonly perform: (effect: RoundEffect, runner: RoundRunner) => void;
}

export class RoundRunner {
  readonly #log: EventLog;
  readonly #options: RunnerOptions;
  readonly #ended = new AbortController();
  #state: RoundState;
  #tail: Promise<unknown> = Promise.resolve();

  private constructor(log: EventLog, state: RoundState, options: RunnerOptions) {
    this.#log = log;
    this.#state = state;
    this.#options = options;
    // Each waiting dispatch and each kept file listens.
    setMaxListeners(0, this.#ended.signal);
  }

  /** Opens a new round in its folder: durable before it is returned. */
  static async create(
    dir: string,
    opened: Extract<RoundEvent, { readonly kind: "opened" }>,
    options: RunnerOptions,
  ): Promise<RoundRunner> {
    const { log } = await EventLog.open(join(dir, LOG_NAME), options.fence);
    await log.append([encodeEvent(opened)]);
    return new RoundRunner(log, applyRoundEvent(null, opened), options);
  }

  /** Reads a round back; null when it was never opened durably. */
  static async recover(dir: string, options: RunnerOptions): Promise<RoundRunner | null> {
    const { log, records } = await EventLog.open(join(dir, LOG_NAME), options.fence);
    const state = foldRound(records.map(decodeEvent));
    if (state) return new RoundRunner(log, state, options);
    await log.close();
    return null;
  }

  get state(): RoundState {
    return this.#state;
  }

  /** Aborted once the round runs no more here. */
  get signal(): AbortSignal {
    return this.#ended.signal;
  }

  /** Has something undone once the round runs no more here. */
  onEnd(undo: () => void): void {
    this.signal.addEventListener("abort", undo, { once: true });
  }

  /** Performs what is left to do after a recovery. */
  resume(): void {
    for (const effect of resumeRound(this.#state)) this.#options.perform(effect, this);
  }

  /**
   * Takes an input in its turn. Resolves with the facts that it caused, all of them durable.
   * Faults: `internal` when the log can't be written; then nothing has happened. `unavailable` when
   * another process may have the rounds by now, which then says what has happened.
   */
  step(input: RoundInput): Promise<readonly RoundEvent[]> {
    const done = this.#tail.then(() => this.#take(input));
    this.#tail = done.catch(() => {});
    return done;
  }

  noteTrainingStep(step: TrainingStep): void {
    this.#state = applyTrainingStep(this.#state, step);
  }

  /** How much of an edge's delta is here: shown, and not worth a line in the log. */
  noteUpload(edge: string, receivedBytes: number, totalBytes: number): void {
    const seat = this.#state.seats.get(edge);
    if (!seat) return;
    const seats = new Map(this.#state.seats).set(edge, { ...seat, receivedBytes, totalBytes });
    this.#state = { ...this.#state, seats };
  }

  /** Starts nothing more; what is under way may still step. */
  end(): void {
    this.#ended.abort();
  }

  async close(): Promise<void> {
    this.end();
    await this.#tail;
    await this.#log.close();
  }

  async #take(input: RoundInput): Promise<readonly RoundEvent[]> {
    const { events, effects } = decideRound(this.#state, input, this.#options.clock.now());
    if (events.length > 0) await this.#log.append(events.map(encodeEvent));
    // Folded into the state of now: a training step may have been noted while the disk was busy.
    for (const event of events) this.#state = applyRoundEvent(this.#state, event);
    for (const effect of effects) this.#options.perform(effect, this);
    return events;
  }
}
