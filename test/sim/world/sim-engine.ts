// A simulated engine: all its streams step together, prompts are read a bit in each step (by the
// real prefillTurns), and what its sequences hold needs no reading.

import { RateMeter } from "../../../edge-node/engine/llama/rate-meter.ts";
import { prefillTurns } from "../../../edge-node/engine/prefill-turns.ts";
import type { Random } from "../../../runtime/random.ts";
import type { EventQueue } from "../kernel/event-queue.ts";
import { BLOCK_TOKENS, blocksOf, type SimRequest } from "../workload/sim-request.ts";
import { decodeStepMs, type EngineProfile } from "./engine-profile.ts";
import { SequenceCache } from "./sequence-cache.ts";
import type { SimProcess } from "./sim-process.ts";

/** A step with nothing to decode still costs this. */
const EMPTY_STEP_MS = 1;
/** Steps vary by this much either way. */
const NOISE = 0.1;

export interface JobSink {
  started(cachedTokens: number): void;
  /** Tokens from..to-1 of the answer are made. */
  tokens(from: number, to: number): void;
  finished(): void;
}

export interface EngineJob {
  readonly request: SimRequest;
  readonly sink: JobSink;
  readonly sequence: number;
  /** Prompt tokens (and those that were delivered elsewhere) still to be read. */
  left: number;
  /** The next token of the answer. */
  index: number;
  isOver: boolean;
}

export interface SimEngineOptions {
  readonly queue: EventQueue;
  readonly process: SimProcess;
  readonly profile: EngineProfile;
  readonly random: Random;
  /** Decode steps taken in one event while nobody is reading: tokens come in batches of so many. */
  readonly stride: number;
}

export class SimEngine {
  readonly rates = new RateMeter();
  /** 1 for as fast as its profile says; less for a slow one. */
  speed = 1;
  /** Time at work, and what that work was worth at full load. */
  busyMs = 0;
  generated = 0;
  prefilled = 0;
  reused = 0;
  readonly #options: SimEngineOptions;
  #cache: SequenceCache;
  #decoding: EngineJob[] = [];
  #reading: EngineJob[] = [];
  #isStepping = false;
  #turn = 0;
  /** Counts lives of the engine: a step of an earlier one comes to nothing. */
  #life = 0;
  onStep: (stepMs: number, tokensEach: number) => void = () => {};

  constructor(options: SimEngineOptions) {
    this.#options = options;
    this.#cache = new SequenceCache(options.profile.slots);
  }

  get active(): number {
    return this.#decoding.length + this.#reading.length;
  }

  get reading(): number {
    return this.#reading.length;
  }

  get cacheRevision(): number {
    return this.#cache.revision;
  }

  heldBlocks(most: number): readonly number[] {
    return this.#cache.held(most);
  }

  /** Returns null when there is no free sequence. `resumeAt`: tokens delivered elsewhere. */
  start(request: SimRequest, resumeAt: number, sink: JobSink): EngineJob | null {
    const place = this.#cache.take(request.blocks);
    if (place === null) return null;
    const { promptTokens } = request;
    const cached = Math.min(place.shared * BLOCK_TOKENS, promptTokens - 1);
    const job: EngineJob = {
      ...{ request, sink, sequence: place.sequence, index: resumeAt, isOver: false },
      left: promptTokens - cached + resumeAt,
    };
    this.reused += cached;
    this.#reading.push(job);
    sink.started(cached);
    this.#step();
    return job;
  }

  /** Stops a job; its sequence keeps what was read and made. */
  cancel(job: EngineJob): void {
    if (job.isOver) return;
    job.isOver = true;
    this.#decoding = this.#decoding.filter((other) => other !== job);
    this.#reading = this.#reading.filter((other) => other !== job);
    const known = Math.max(0, job.request.promptTokens - job.left);
    this.#release(job, job.left > 0 ? known : job.request.promptTokens + job.index);
  }

  /** The process died or its engine crashed: everything in it is gone. */
  reset(): void {
    this.#life += 1;
    for (const job of [...this.#decoding, ...this.#reading]) job.isOver = true;
    this.#decoding = [];
    this.#reading = [];
    this.#isStepping = false;
    this.#cache = new SequenceCache(this.#options.profile.slots);
  }

  #step(): void {
    if (this.#isStepping || this.active === 0) return;
    this.#isStepping = true;
    const { queue, process, profile, random, stride } = this.#options;
    const readers = this.#reading.slice();
    const writers = this.#decoding.slice();
    const wanted = readers.map(({ left }) => left);
    const turns =
      readers.length === 0 ? wanted : prefillTurns(wanted, writers.length, this.#turn++);
    const read = turns.reduce((sum, tokens) => sum + tokens, 0);
    const steps = readers.length > 0 ? 1 : Math.min(stride, shortestOf(writers));
    const decodeMs = writers.length > 0 ? decodeStepMs(profile, writers.length) : EMPTY_STEP_MS;
    const workMs = decodeMs * steps + (read * 1000) / profile.prefillTokensPerS;
    const tookMs = (workMs * (1 + NOISE * (2 * random() - 1))) / this.speed;
    const life = this.#life;
    queue.after(tookMs, () =>
      process.run(() => {
        if (life !== this.#life) return;
        this.busyMs += tookMs;
        this.rates.step(writers.length, read, tookMs / steps);
        if (writers.length > 0) this.onStep(tookMs / steps, steps);
        for (const job of writers) if (!job.isOver) this.#write(job, steps);
        for (const [at, job] of readers.entries()) if (!job.isOver) this.#read(job, turns[at]!);
        // Only now: whoever got a slot by an end above joins the next step, not this one.
        if (life !== this.#life) return;
        this.#isStepping = false;
        this.#step();
      }),
    );
  }

  #read(job: EngineJob, tokens: number): void {
    this.prefilled += tokens;
    job.left -= tokens;
    if (job.left > 0) return;
    // Reading the last token of a prompt gives the first one of the answer.
    this.#reading = this.#reading.filter((other) => other !== job);
    this.#decoding.push(job);
    this.#write(job, 1);
  }

  #write(job: EngineJob, steps: number): void {
    const to = Math.min(job.index + steps, job.request.outputTokens);
    const from = job.index;
    this.generated += to - from;
    job.index = to;
    if (to > from) job.sink.tokens(from, to);
    if (to < job.request.outputTokens || job.isOver) return;
    job.isOver = true;
    this.#decoding = this.#decoding.filter((other) => other !== job);
    this.#release(job, job.request.promptTokens + to);
    job.sink.finished();
  }

  #release({ sequence, request }: EngineJob, tokens: number): void {
    this.#cache.release(sequence, blocksOf(request.conversation, tokens));
  }
}

function shortestOf(jobs: readonly EngineJob[]): number {
  let least = Infinity;
  for (const { request, index } of jobs) least = Math.min(least, request.outputTokens - index);
  return Math.max(1, least);
}
