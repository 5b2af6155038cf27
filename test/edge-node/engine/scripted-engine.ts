// An Engine without a model, for tests of what is built on engines: deterministic, in process,
// without timers. Its tokens are the bytes of UTF-8; a prompt and a version decide the reply.
// With `manual`, time stands still until the test calls step().
import { Completion } from "../../../edge-node/engine/completion.ts";
import type {
  Embeddings,
  Engine,
  EngineInfo,
  EnginePrompt,
  EngineState,
  EngineStats,
  GenerateEvent,
  GenerateJob,
  HeldPrompt,
  TokenScore,
  VersionSpec,
  VersionState,
} from "../../../edge-node/engine/engine.ts";
import { checkIds, checkJob, checkPrompt } from "../../../edge-node/engine/job-limits.ts";
import { Fault } from "../../../proto/fault.ts";

export interface ScriptedEngineOptions {
  readonly slots?: number;
  readonly contextSize?: number;
  /** What is said to a prompt; the default never ends. */
  readonly reply?: (prompt: string, version: string) => string;
  /** Streams move only when the test calls step(). */
  readonly manual?: boolean;
  readonly version?: string;
}

const END_TOKEN = 256;
const VOCABULARY_SIZE = 257;
const EMBEDDING_SIZE = 16;
const ENDLESS_WORDS = ["lorem ", "ipsum ", "dolor ", "sit ", "amet, ", "é ", "😀 ", "naïve "];
const vocabulary = {
  pieceOf: (id: number) => Uint8Array.of(id),
  endsGeneration: (id: number) => id === END_TOKEN,
};

interface Stream {
  readonly job: GenerateJob;
  readonly version: string;
  readonly prompt: readonly number[];
  readonly completion: Completion;
  started: boolean;
  onEvent(event: GenerateEvent): void;
  resolve(): void;
  reject(fault: Fault): void;
}

export class ScriptedEngine implements Engine {
  readonly info: EngineInfo;
  readonly #options: ScriptedEngineOptions;
  readonly #listeners = new Set<(state: EngineState) => void>();
  #state: EngineState = "ready";
  #versions: VersionState[];
  #streams: Stream[] = [];
  #drained: (() => void)[] = [];
  #scheduled = false;
  #generated = 0;
  /** The labels of as many prompts as there are slots, the newest last. */
  #held: HeldPrompt[] = [];
  #restarts = 0;

  constructor(options: ScriptedEngineOptions = {}) {
    this.#options = options;
    const { slots = 4, contextSize = 4096, version = "base" } = options;
    this.#versions = [{ id: version, adapters: [], active: true, draining: false }];
    this.info = {
      architecture: "scripted",
      contextSize,
      trainedContextSize: contextSize,
      embeddingSize: EMBEDDING_SIZE,
      vocabularySize: VOCABULARY_SIZE,
      modelBytes: 0,
      slots,
      threads: 1,
      gpu: "",
      gpuDevices: [],
      loadMs: 0,
    };
  }

  get state(): EngineState {
    return this.#state;
  }

  onState(listener: (state: EngineState) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Gives each running stream its next token, `count` times; newcomers join in between. */
  step(count = 1): void {
    for (let done = 0; done < count; done++) {
      for (const stream of this.#streams.slice(0, this.info.slots)) this.#advance(stream);
    }
  }

  /** Dies as a native engine does: everything in flight rejects, and nothing is served. */
  crash(): void {
    this.#held = [];
    this.#rejectAll(new Fault("engine-crashed", "crashed on purpose", { stage: "interrupted" }));
    this.#setState("loading");
  }

  recover(): void {
    this.#restarts++;
    this.#setState("ready");
  }

  async generate(
    job: GenerateJob,
    onEvent: (event: GenerateEvent) => void,
    signal: AbortSignal,
  ): Promise<void> {
    checkJob(job);
    this.#ensureReady();
    if (signal.aborted) throw cancelled();
    if (job.constraint !== null) throw new Fault("unsupported", "the script knows no constraints");
    const version = this.#version(job.version);
    const prompt = this.#read(job.prompt);
    if (prompt.length >= this.info.contextSize) throw tooLong(this.info.contextSize);
    if (this.#streams.length >= 2 * this.info.slots) {
      throw new Fault("overloaded", "every place is taken");
    }
    checkVocabulary(job.resume?.tokens ?? []);
    const fits = this.info.contextSize - prompt.length;
    const tokensMax = job.maxTokens === 0 ? fits : Math.min(fits, job.maxTokens);
    const completion = new Completion({ tokensMax, stop: job.stop }, vocabulary, job.resume);
    const settled = Promise.withResolvers<void>();
    const stream: Stream = {
      job,
      version,
      prompt,
      completion,
      started: false,
      onEvent,
      resolve: settled.resolve,
      reject: settled.reject,
    };
    const abort = () => {
      this.#leave(stream);
      settled.reject(cancelled());
    };
    signal.addEventListener("abort", abort, { once: true });
    this.#streams.push(stream);
    this.#schedule();
    await settled.promise.finally(() => signal.removeEventListener("abort", abort));
  }

  async embed(texts: readonly string[], signal: AbortSignal): Promise<Embeddings> {
    this.#ensureReady();
    if (signal.aborted) throw cancelled();
    let tokens = 0;
    const vectors = texts.map((text) => {
      const bytes = Buffer.from(text);
      if (bytes.length === 0) throw new Fault("invalid-argument", "a text to embed is empty");
      if (bytes.length >= this.info.contextSize) throw tooLong(this.info.contextSize);
      tokens += bytes.length;
      const vector = new Float32Array(EMBEDDING_SIZE);
      for (const [at, byte] of bytes.entries()) vector[(at * 7 + byte) % EMBEDDING_SIZE]! += byte;
      const length = Math.hypot(...vector);
      return vector.map((value) => value / length);
    });
    return { vectors, tokens };
  }

  async tokenize(prompt: EnginePrompt): Promise<number[]> {
    checkPrompt(prompt);
    this.#ensureReady();
    return this.#read(prompt);
  }

  async countTokens(prompt: EnginePrompt): Promise<number> {
    return (await this.tokenize(prompt)).length;
  }

  async score(
    prompt: EnginePrompt,
    tokens: readonly number[],
    signal: AbortSignal,
    version = "",
  ): Promise<TokenScore[]> {
    checkPrompt(prompt);
    checkVocabulary(tokens);
    this.#ensureReady();
    if (signal.aborted) throw cancelled();
    const read = this.#read(prompt);
    const id = this.#version(version);
    if (read.length + tokens.length > this.info.contextSize) throw tooLong(this.info.contextSize);
    return tokens.map((token, position) => {
      const argmax = this.#next(read, id, position);
      return { argmax, gap: argmax === token ? 0 : 1 };
    });
  }

  async openVersion(spec: VersionSpec): Promise<void> {
    this.#ensureReady();
    if (this.#versions.some((version) => version.id === spec.id)) {
      throw new Fault("conflict", `version ${spec.id} is already open`);
    }
    this.#versions.push({ ...spec, active: false, draining: false });
  }

  async activateVersion(id: string): Promise<void> {
    this.#ensureReady();
    this.#version(id);
    this.#versions = this.#versions.map((version) => ({ ...version, active: version.id === id }));
  }

  async closeVersion(id: string): Promise<void> {
    this.#ensureReady();
    this.#version(id);
    if (this.#versions.some((version) => version.id === id && version.active)) {
      throw new Fault("conflict", `version ${id} is active`);
    }
    this.#versions = this.#versions.map((version) =>
      version.id === id ? { ...version, draining: true } : version,
    );
    while (this.#streams.some((stream) => stream.version === id)) {
      await new Promise<void>((resolve) => this.#drained.push(resolve));
    }
    this.#versions = this.#versions.filter((version) => version.id !== id);
  }

  versions(): readonly VersionState[] {
    return this.#versions;
  }

  stats(): EngineStats {
    const active = Math.min(this.info.slots, this.#streams.length);
    const memory = { rssBytes: 0, freeMemoryBytes: 0, totalMemoryBytes: 0 };
    return {
      active,
      queued: this.#streams.length - active,
      freeSlots: this.#state === "ready" ? this.info.slots - active : 0,
      prefillTokensPerSecond: 1000,
      decodeTokensPerSecondPerStream: 100,
      decodeTokensPerSecondTotal: 100 * active,
      tokensGenerated: this.#generated,
      tokensPrefilled: 0,
      tokensReused: 0,
      stateTokens: 0,
      held: this.#held,
      gpuUsedBytes: 0,
      gpuTotalBytes: 0,
      restarts: this.#restarts,
      silentMs: 0,
      ...memory,
    };
  }

  async close(): Promise<void> {
    this.#rejectAll(new Fault("draining", "the engine was closed", { stage: "interrupted" }));
    this.#setState("closed");
  }

  #advance(stream: Stream): void {
    // An earlier stream's listener may have ended this one within the same step.
    if (!this.#streams.includes(stream)) return;
    const { completion, prompt, version } = stream;
    if (!stream.started) {
      stream.started = true;
      const { label = "" } = stream.job;
      if (label !== "") {
        const held = { label, version, tokens: prompt.length };
        this.#held = [...this.#held, held].slice(-this.info.slots);
      }
      stream.onEvent({ kind: "started", promptTokens: prompt.length, cachedTokens: 0, version });
      if (completion.resumedEnd !== null) this.#finish(stream, completion.resumedEnd, "");
      return;
    }
    const index = completion.ids.length;
    const id = this.#next(prompt, version, index);
    const { text, end } = completion.accept(id);
    const kept = completion.ids.length > index;
    if (kept) {
      this.#generated++;
      stream.onEvent({
        kind: "tokens",
        index,
        ids: [id],
        text,
        logprobs: logprobs(stream.job, id),
      });
    }
    if (end !== null && this.#streams.includes(stream)) this.#finish(stream, end, kept ? "" : text);
  }

  #finish(stream: Stream, end: NonNullable<Completion["resumedEnd"]>, before: string): void {
    this.#leave(stream);
    const { prompt, completion } = stream;
    stream.onEvent({
      ...end,
      kind: "finished",
      text: before + end.text,
      promptTokens: prompt.length,
      cachedTokens: 0,
      completionTokens: completion.ids.length,
    });
    stream.resolve();
  }

  #next(prompt: readonly number[], version: string, position: number): number {
    const text = Buffer.from(prompt).toString("utf8");
    const reply = this.#options.reply?.(text, version);
    if (reply !== undefined) return Buffer.from(reply)[position] ?? END_TOKEN;
    const words = ENDLESS_WORDS.length;
    const first = prompt.reduce((sum, byte) => (sum * 31 + byte) % 65_537, version.length) % words;
    const order = [...ENDLESS_WORDS.slice(first), ...ENDLESS_WORDS.slice(0, first)];
    const bytes = Buffer.from(order.join(""));
    return bytes[position % bytes.length]!;
  }

  #read(prompt: EnginePrompt): number[] {
    if (prompt.kind === "tokens") {
      checkVocabulary(prompt.tokens);
      return [...prompt.tokens];
    }
    if (prompt.kind === "text") {
      if (prompt.text === "") throw new Fault("invalid-argument", "the prompt is empty");
      return [...Buffer.from(prompt.text)];
    }
    const lines = prompt.messages.map(({ role, content }) => `${role}: ${content}\n`);
    return [...Buffer.from(`${lines.join("")}assistant:`)];
  }

  #version(id: string): string {
    const found = this.#versions.find((version) =>
      id === "" ? version.active : version.id === id,
    );
    if (found === undefined || found.draining) {
      throw new Fault("not-found", `no version ${id} is open`, { param: "version" });
    }
    return found.id;
  }

  #schedule(): void {
    if (this.#options.manual === true || this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.step();
      if (this.#streams.length > 0) this.#schedule();
    });
  }

  #leave(stream: Stream): void {
    this.#streams = this.#streams.filter((other) => other !== stream);
    const waiting = this.#drained;
    this.#drained = [];
    for (const check of waiting) check();
  }

  #rejectAll(fault: Fault): void {
    const streams = this.#streams;
    this.#streams = [];
    for (const stream of streams) stream.reject(fault);
  }

  #ensureReady(): void {
    if (this.#state === "closed") throw new Fault("draining", "the engine is closed");
    if (this.#state !== "ready") throw new Fault("unavailable", "the model is being loaded");
  }

  #setState(state: EngineState): void {
    if (this.#state === state || this.#state === "closed") return;
    this.#state = state;
    for (const listener of [...this.#listeners]) listener(state);
  }
}

function logprobs(job: GenerateJob, id: number) {
  if (job.topLogprobs === null) return null;
  const scored = { id, text: Buffer.of(id).toString("utf8"), logprob: 0 };
  return [{ ...scored, top: job.topLogprobs > 0 ? [scored] : [] }];
}

function checkVocabulary(ids: readonly number[]): void {
  checkIds(ids, "ids");
  if (ids.every((id) => id < VOCABULARY_SIZE)) return;
  throw new Fault("invalid-argument", "ids lie outside of the vocabulary", { param: "ids" });
}

function tooLong(contextSize: number): Fault {
  return new Fault("context-length-exceeded", `it doesn't fit ${contextSize} tokens`);
}

function cancelled(): Fault {
  return new Fault("cancelled", "nobody waits for the answer any more", { stage: "interrupted" });
}
