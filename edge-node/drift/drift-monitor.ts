// Compares what callers ask this edge lately with what the edge has trained on, by how often each
// token occurs. Only the score ever leaves; the inputs stay here, in memory, as counts.
import { create } from "@bufbuild/protobuf";
import { Fault } from "../../proto/fault.ts";
import { type DriftScore, DriftScoreSchema } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import { divergenceOf } from "./divergence.ts";
import { TokenWindow } from "./token-window.ts";

/** What an edge has trained on for one model. */
export interface TrainedOn {
  /** Changes whenever the prompts do. */
  readonly revision: string;
  readonly prompts: () => readonly string[];
}

export interface DriftMonitorOptions {
  readonly bounds: {
    readonly threshold: number;
    readonly inputs: number;
    readonly inputsMin: number;
  };
  /** The tokens of a text by the vocabulary of a model that is served; null while none is. */
  readonly tokenize: (model: string, text: string) => Promise<readonly number[]> | null;
  /** Null where the edge has trained on nothing. */
  readonly trainedOn: (model: string) => TrainedOn | null;
  readonly clock: Clock;
  readonly log: Log;
}

/** How often inputs are counted. What comes faster than it is counted is sampled. */
const LOOK_MS = 2000;
const WAITING_MAX = 64;
const MODELS_MAX = 64;
const INPUT_CHARS_MAX = 4096;
/** Prompts trained on that are counted; the newest. */
const TRAINED_PROMPTS_MAX = 2000;
/** Scores are told when they have changed, and now and then, since heartbeats get lost. */
export const DRIFT_REPEAT_MS = 5000;

const textFaults: ReadonlySet<string> = new Set(["invalid-argument", "context-length-exceeded"]);

interface Watched {
  readonly waiting: string[];
  readonly inputs: TokenWindow;
  trained: { readonly revision: string; readonly counts: ReadonlyMap<number, number> } | null;
  score: DriftScore | null;
}

export class DriftMonitor {
  readonly #options: DriftMonitorOptions;
  readonly #watched = new Map<string, Watched>();
  readonly #timer: { cancel(): void };
  #looking: Promise<void> = Promise.resolve();
  #isLooking = false;
  #hasStopped = false;
  #hasNews = false;
  #toldMs = -Infinity;

  /** Begins to watch. */
  constructor(options: DriftMonitorOptions) {
    this.#options = options;
    this.#timer = options.clock.every(LOOK_MS, () => this.look());
  }

  /** Notes one input. Costs nothing but memory: it is counted later. */
  note(model: string, prompt: string): void {
    const watched = this.#watch(model);
    if (watched === null || watched.waiting.length >= WAITING_MAX) return;
    watched.waiting.push(prompt.slice(0, INPUT_CHARS_MAX));
  }

  /** The scores that are known. */
  get scores(): DriftScore[] {
    return [...this.#watched.values()].flatMap(({ score }) => score ?? []);
  }

  /** All scores when they are worth telling, else nothing. `nowMs` is monotonic. */
  news(nowMs: number): DriftScore[] {
    if (!this.#hasNews && nowMs - this.#toldMs < DRIFT_REPEAT_MS) return [];
    this.#hasNews = false;
    this.#toldMs = nowMs;
    return this.scores;
  }

  /** Counts what waits and scores anew; resolves when it is done. */
  look(): Promise<void> {
    if (this.#isLooking || this.#hasStopped) return this.#looking;
    this.#isLooking = true;
    this.#looking = this.#lookAtAll().finally(() => {
      this.#isLooking = false;
    });
    return this.#looking;
  }

  async stop(): Promise<void> {
    this.#hasStopped = true;
    this.#timer.cancel();
    await this.#looking;
  }

  async #lookAtAll(): Promise<void> {
    for (const [model, watched] of [...this.#watched]) {
      try {
        await this.#lookAt(model, watched);
      } catch (thrown) {
        // The engine has just gone or is being replaced. Its words might quote an input.
        const kind = thrown instanceof Error ? thrown.name : typeof thrown;
        this.#options.log.debug({ model, kind }, "inputs could not be counted");
      }
    }
  }

  async #lookAt(model: string, watched: Watched): Promise<void> {
    const { bounds, trainedOn } = this.#options;
    for (const prompt of watched.waiting.splice(0)) {
      if (this.#hasStopped) return;
      const ids = await this.#tokensOf(model, prompt);
      if (ids === null) return;
      watched.inputs.add(ids);
    }
    const trained = trainedOn(model);
    if (trained === null || watched.inputs.size < bounds.inputsMin) return;
    if (watched.trained?.revision !== trained.revision) {
      const counts = await this.#count(model, trained.prompts());
      if (counts === null) return;
      watched.trained = { revision: trained.revision, counts };
    }
    if (watched.trained.counts.size === 0 || watched.inputs.counts.size === 0) return;
    const score = divergenceOf(watched.inputs.counts, watched.trained.counts);
    if (watched.score?.score === Math.fround(score)) return;
    const { threshold } = bounds;
    const inputs = watched.inputs.size;
    watched.score = create(DriftScoreSchema, {
      ...{ model, inputs },
      // As the wire will have it.
      score: Math.fround(score),
      threshold: Math.fround(threshold),
    });
    this.#hasNews = true;
  }

  async #count(model: string, prompts: readonly string[]): Promise<Map<number, number> | null> {
    const all = new TokenWindow(TRAINED_PROMPTS_MAX);
    for (const prompt of prompts.slice(-TRAINED_PROMPTS_MAX)) {
      if (this.#hasStopped) return null;
      const ids = await this.#tokensOf(model, prompt.slice(0, INPUT_CHARS_MAX));
      if (ids === null) return null;
      all.add(ids);
    }
    return new Map(all.counts);
  }

  /** None for a text that the model can't be given at all; null while no engine is there. */
  async #tokensOf(model: string, text: string): Promise<readonly number[] | null> {
    try {
      return await this.#options.tokenize(model, text);
    } catch (thrown) {
      const isText = thrown instanceof Fault && textFaults.has(thrown.code);
      if (isText) return [];
      throw thrown;
    }
  }

  #watch(model: string): Watched | null {
    const known = this.#watched.get(model);
    if (known !== undefined) return known;
    if (this.#watched.size >= MODELS_MAX) return null;
    const inputs = new TokenWindow(this.#options.bounds.inputs);
    const watched: Watched = { waiting: [], inputs, trained: null, score: null };
    this.#watched.set(model, watched);
    return watched;
  }
}
