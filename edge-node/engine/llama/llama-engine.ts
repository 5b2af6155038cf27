// The Engine on node-llama-cpp: the model runs in a child process, which is started again when it
// dies. What was in flight then rejects with engine-crashed and can be resumed anywhere.
import { availableParallelism, freemem, totalmem } from "node:os";
import { Fault } from "../../../proto/fault.ts";
import { type Clock, systemClock, type Timer } from "../../../runtime/clock.ts";
import type {
  Embeddings,
  Engine,
  EngineInfo,
  EnginePrompt,
  EngineState,
  EngineStats,
  GenerateEvent,
  GenerateJob,
  TokenScore,
  VersionSpec,
  VersionState,
} from "../engine.ts";
import { checkJob, checkPrompt } from "../job-limits.ts";
import { type ChildCall, type ChildStats, idleStats, type LoadOptions } from "./child-messages.ts";
import { EngineChild } from "./engine-child.ts";
import type { LlamaEngineOptions } from "./llama-engine-options.ts";
import { VersionBook } from "./version-book.ts";

export const SLOTS_DEFAULT = 4;
export const SLOTS_MAX = 256;
const RESTART_DELAY_MIN_MS = 100;
const RESTART_DELAY_MAX_MS = 10_000;
/** A process silent for that long with work to do is wedged; the longest step is far shorter. */
const SILENCE_MAX_MS = 60_000;
const SILENCE_CHECK_MS = 5000;
/** Calls beside generation and scoring that may be open at once. */
const OTHER_CALLS_MAX = 256;
/** Failures in a row after which the state says "failed" between further tries. */
const FAILURES_BEFORE_FAILED = 3;

/**
 * Loads the model; gives up, and ends the process, once the signal is aborted.
 * Faults: failed-precondition or not-found when it can't be loaded; the signal's reason.
 */
export async function createLlamaEngine(
  options: LlamaEngineOptions,
  signal?: AbortSignal,
): Promise<LlamaEngine> {
  signal?.throwIfAborted();
  const engine = new LlamaEngine(options);
  const giveUp = () => void engine.close();
  signal?.addEventListener("abort", giveUp, { once: true });
  try {
    await engine.start();
    signal?.throwIfAborted();
  } catch (problem) {
    await engine.close();
    throw signal?.aborted ? signal.reason : problem;
  } finally {
    signal?.removeEventListener("abort", giveUp);
  }
  return engine;
}

export class LlamaEngine implements Engine {
  readonly #options: LlamaEngineOptions;
  readonly #clock: Clock;
  readonly #listeners = new Set<(state: EngineState) => void>();
  readonly #slots: number;
  readonly #versions: VersionBook;
  #child: EngineChild | null = null;
  #info: EngineInfo | null = null;
  #state: EngineState = "loading";
  #stats: ChildStats = idleStats;
  #jobs = 0;
  #failures = 0;
  #restarts = 0;
  #retry: Timer | null = null;
  readonly #watch: Timer;

  constructor(options: LlamaEngineOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#slots = options.slots ?? SLOTS_DEFAULT;
    this.#versions = new VersionBook(options.version ?? { id: "base", adapters: [] });
    if (!Number.isInteger(this.#slots) || this.#slots < 1 || this.#slots > SLOTS_MAX) {
      throw new Fault("invalid-argument", `slots must be between 1 and ${SLOTS_MAX}`);
    }
    this.#watch = this.#clock.every(SILENCE_CHECK_MS, () => this.#endSilence());
  }

  get info(): EngineInfo {
    if (this.#info === null) throw new Fault("unavailable", "the model is not loaded yet");
    return this.#info;
  }

  get state(): EngineState {
    return this.#state;
  }

  /** The child's process id, 0 while there is none. */
  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  onState(listener: (state: EngineState) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Starts the child and loads the model into it. */
  async start(): Promise<void> {
    const listeners = {
      onStats: (stats: ChildStats) => {
        if (this.#child === child) this.#stats = stats;
      },
      onExit: (fault: Fault) => this.#exited(child, fault),
      log: (text: string) => this.#options.log?.(text),
    };
    const child = new EngineChild(listeners, this.#clock);
    this.#child = child;
    this.#info = await child.load(this.#loadOptions());
    this.#setState("ready");
  }

  async generate(
    job: GenerateJob,
    onEvent: (event: GenerateEvent) => void,
    signal: AbortSignal,
  ): Promise<void> {
    checkJob(job);
    if (job.constraint?.kind === "grammar" && this.#options.grammars !== true) {
      throw new Fault("unsupported", "grammars are not taken here", { param: "constraint" });
    }
    await this.#job({ method: "generate", job }, signal, onEvent);
    this.#failures = 0;
  }

  async score(
    prompt: EnginePrompt,
    tokens: readonly number[],
    signal: AbortSignal,
    version = "",
  ): Promise<TokenScore[]> {
    checkPrompt(prompt);
    const scores = await this.#job({ method: "score", prompt, tokens, version }, signal);
    return scores as TokenScore[];
  }

  async embed(texts: readonly string[], signal: AbortSignal): Promise<Embeddings> {
    return (await this.#call({ method: "embed", texts }, signal)) as Embeddings;
  }

  async tokenize(prompt: EnginePrompt): Promise<number[]> {
    return (await this.#call({ method: "tokenize", prompt }, null)) as number[];
  }

  async countTokens(prompt: EnginePrompt): Promise<number> {
    return (await this.#call({ method: "count-tokens", prompt }, null)) as number;
  }

  async openVersion(spec: VersionSpec): Promise<void> {
    await this.#call({ method: "open-version", spec }, null);
    this.#versions.opened(spec);
  }

  async activateVersion(id: string): Promise<void> {
    await this.#call({ method: "activate-version", id }, null);
    this.#versions.activated(id);
  }

  async closeVersion(id: string): Promise<void> {
    const closed = this.#call({ method: "close-version", id }, null);
    this.#versions.draining(id, true);
    try {
      await closed;
    } catch (problem) {
      // A crash closes it as well: the next process doesn't open it again.
      const crashed = problem instanceof Fault && problem.code === "engine-crashed";
      if (!crashed) {
        this.#versions.draining(id, false);
        throw problem;
      }
    }
    this.#versions.closed(id);
  }

  versions(): readonly VersionState[] {
    return this.#versions.list;
  }

  stats(): EngineStats {
    const { active } = this.#stats;
    return {
      ...this.#stats,
      freeSlots: this.#state === "ready" ? Math.max(0, this.#slots - active) : 0,
      freeMemoryBytes: freemem(),
      totalMemoryBytes: totalmem(),
      restarts: this.#restarts,
      silentMs: this.#child?.silentMs ?? 0,
    };
  }

  async close(): Promise<void> {
    this.#setState("closed");
    this.#retry?.cancel();
    this.#watch.cancel();
    await this.#child?.kill();
  }

  /** A call that takes a sequence: at most one waiting for each at work. */
  async #job(
    call: ChildCall,
    signal: AbortSignal,
    onEvent?: (event: GenerateEvent) => void,
  ): Promise<unknown> {
    if (this.#jobs >= 2 * this.#slots) {
      throw new Fault("overloaded", "every sequence is taken and so is every place in the queue");
    }
    this.#jobs++;
    try {
      return await this.#call(call, signal, onEvent);
    } finally {
      this.#jobs--;
    }
  }

  #call(
    call: ChildCall,
    signal: AbortSignal | null,
    onEvent: (event: GenerateEvent) => void = () => {},
  ): Promise<unknown> {
    if (this.#state === "closed") {
      return Promise.reject(new Fault("draining", "the engine is closed"));
    }
    if (this.#state !== "ready" || this.#child === null) {
      return Promise.reject(new Fault("unavailable", "the model is being loaded"));
    }
    if (this.#child.openCalls >= OTHER_CALLS_MAX + 2 * this.#slots) {
      return Promise.reject(new Fault("overloaded", "too many calls are open"));
    }
    return this.#child.call(call, signal, onEvent).catch((fault: unknown) => {
      if (this.#state !== "closed") throw fault;
      throw new Fault("draining", "the engine was closed", { stage: "interrupted" });
    });
  }

  #exited(child: EngineChild, fault: Fault): void {
    if (this.#child !== child || this.#state === "closed") return;
    this.#child = null;
    this.#stats = idleStats;
    // The first load is answered by createLlamaEngine, which gives up at once.
    if (this.#info === null) return;
    this.#options.log?.(`${fault.message}\n`);
    this.#failures++;
    this.#setState(this.#failures > FAILURES_BEFORE_FAILED ? "failed" : "loading");
    const delayMs = RESTART_DELAY_MIN_MS * 2 ** Math.min(this.#failures - 1, 16);
    this.#retry = this.#clock.after(Math.min(delayMs, RESTART_DELAY_MAX_MS), () => this.#restart());
  }

  /** Ends a wedged process; its exit brings a new one. */
  #endSilence(): void {
    const child = this.#child;
    if (child === null || child.silentMs < SILENCE_MAX_MS) return;
    this.#options.log?.(`the engine's process is silent for ${Math.round(child.silentMs)} ms\n`);
    void child.kill();
  }

  #restart(): void {
    this.#restarts++;
    this.#versions.crashed();
    this.start().catch((problem: unknown) => {
      // The process that couldn't load ends by itself, and its exit brings the next try.
      this.#options.log?.(`${problem instanceof Error ? problem.message : String(problem)}\n`);
    });
  }

  #setState(state: EngineState): void {
    if (this.#state === state || this.#state === "closed") return;
    this.#state = state;
    for (const listener of [...this.#listeners]) listener(state);
  }

  #loadOptions(): LoadOptions {
    return {
      modelPath: this.#options.modelPath,
      contextSize: this.#options.contextSize ?? 0,
      slots: this.#slots,
      threads: this.#options.threads ?? Math.max(1, availableParallelism() - 1),
      gpu: this.#options.gpu ?? "auto",
      versions: this.#versions.list.map(({ id, adapters }) => ({ id, adapters })),
      activeVersion: this.#versions.active,
    };
  }
}
