// Takes calls for a loaded model, queues them for a sequence, and runs them in lockstep.
import type { EnginePrompt, GenerateJob, TokenScore } from "../engine.ts";
import { checkIds, checkJob, checkPrompt } from "../job-limits.ts";
import type { ChildCall, FromChild } from "./child-messages.ts";
import { recordFault } from "./child-messages.ts";
import { EngineMeter } from "./engine-meter.ts";
import { GenerateRun, type GenerateTask } from "./generate-run.ts";
import { type Generation, prepareGeneration } from "./generation.ts";
import { Lockstep, type LockstepRun } from "./lockstep.ts";
import type { ModelHost } from "./model-host.ts";
import { Outbox } from "./outbox.ts";
import { contextExceeded } from "./prompt-reader.ts";
import { ScoreRun } from "./score-run.ts";
import type { SlotGrant, VersionContext } from "./version-context.ts";

interface PendingJob {
  readonly id: number;
  readonly priority: "interactive" | "batch";
  readonly version: VersionContext;
  /** Tokens whose state may be reused. */
  readonly tokens: readonly number[];
  /** Of the prompt; empty for none. */
  readonly label: string;
  start(grant: SlotGrant): CancellableRun;
}

interface CancellableRun extends LockstepRun {
  cancel(): void;
}

export class JobDesk {
  readonly #host: ModelHost;
  readonly #outbox: Outbox;
  readonly #lockstep: Lockstep;
  readonly #meter: EngineMeter;
  #pending: PendingJob[] = [];
  /** The waiting job for which a sequence is being prepared. */
  #admitting: PendingJob | null = null;
  readonly #runs = new Map<number, CancellableRun>();
  readonly #embeds = new Map<number, AbortController>();
  readonly #drained = new Map<VersionContext, () => void>();

  constructor(host: ModelHost, send: (message: FromChild) => void) {
    this.#host = host;
    this.#meter = new EngineMeter(host);
    this.#outbox = new Outbox(send);
    this.#lockstep = new Lockstep({
      waiting: () => this.#pending.length > 0,
      admit: () => this.#admit(),
      stepping: () => this.#meter.stepping(),
      stepped: (streams, prefillTokens) => this.#stepped(streams, prefillTokens),
      left: () => this.#left(),
    });
  }

  run(): Promise<void> {
    this.#report(true);
    this.#outbox.flush();
    return this.#lockstep.run();
  }

  /** Answers with a reply or a fault, never by throwing. */
  call(id: number, call: ChildCall): void {
    this.#handle(id, call).catch((problem: unknown) => {
      this.#settle(id, problem);
      this.#outbox.flush();
    });
  }

  cancel(id: number): void {
    this.#embeds.get(id)?.abort();
    const waiting = this.#pending.findIndex((job) => job.id === id);
    if (waiting >= 0) {
      const [job] = this.#pending.splice(waiting, 1);
      if (job !== this.#admitting) this.#release(job!.version);
    }
    this.#runs.get(id)?.cancel();
    this.#lockstep.wake();
  }

  async #handle(id: number, call: ChildCall): Promise<void> {
    switch (call.method) {
      case "generate":
        return this.#generate(id, call.job);
      case "score":
        return this.#score(id, call.prompt, call.tokens, call.version);
      case "embed":
        return this.#embed(id, call.texts);
      case "tokenize":
        return this.#reply(id, this.#read(call.prompt));
      case "count-tokens":
        return this.#reply(id, this.#read(call.prompt).length);
      case "open-version":
        await this.#host.open(call.spec);
        return this.#reply(id, null);
      case "activate-version":
        this.#host.activate(call.id);
        return this.#reply(id, null);
      case "close-version":
        await this.#drain(this.#host.beginClose(call.id));
        return this.#reply(id, null);
    }
  }

  async #generate(id: number, job: GenerateJob): Promise<void> {
    checkJob(job);
    const version = this.#host.version(job.version);
    // Held before anything is awaited, so that the version can't be closed meanwhile.
    version.users++;
    let generation: Generation;
    try {
      generation = await prepareGeneration(this.#host, job);
    } catch (problem) {
      this.#release(version);
      throw problem;
    }
    if (generation.completion.resumedEnd !== null) {
      this.#finishAtOnce(id, generation, version);
      return;
    }
    const task: GenerateTask = {
      ...generation,
      emit: (event) => {
        if (event.kind === "tokens") this.#meter.generated += event.ids.length;
        this.#outbox.event(id, event);
      },
      settle: (fault) => this.#settle(id, fault),
    };
    this.#enqueue({
      id,
      priority: job.priority,
      version,
      tokens: task.tokens,
      label: job.label ?? "",
      start: (grant) => new GenerateRun(task, grant),
    });
  }

  /** The resumed ids were already the whole completion. */
  #finishAtOnce(id: number, generation: Generation, version: VersionContext): void {
    const { promptTokens, completion } = generation;
    const { reason, stopSequence, text, endToken } = completion.resumedEnd!;
    const counts = { promptTokens, cachedTokens: 0 };
    this.#outbox.event(id, { kind: "started", ...counts, version: version.spec.id });
    const completionTokens = completion.ids.length;
    const end = { reason, stopSequence, text, endToken, completionTokens };
    this.#outbox.event(id, { kind: "finished", ...counts, ...end });
    this.#release(version);
    this.#reply(id, null);
  }

  #score(id: number, prompt: EnginePrompt, tokens: readonly number[], versionId: string): void {
    checkIds(tokens, "ids");
    this.#host.prompts.checkVocabulary(tokens);
    const read = this.#read(prompt);
    const version = this.#host.version(versionId);
    if (read.length + tokens.length > this.#host.contextSize) {
      throw contextExceeded(this.#host.contextSize);
    }
    if (tokens.length === 0) {
      this.#reply(id, []);
      return;
    }
    version.users++;
    const settle = (fault: unknown, scores: readonly TokenScore[]) =>
      fault === null ? this.#reply(id, scores) : this.#settle(id, fault);
    const task = { prompt: read, tokens, settle };
    const start = (grant: SlotGrant) => new ScoreRun(task, grant);
    this.#enqueue({ id, priority: "batch", version, tokens: read, label: "", start });
  }

  async #embed(id: number, texts: readonly string[]): Promise<void> {
    const abort = new AbortController();
    this.#embeds.set(id, abort);
    try {
      this.#reply(id, await this.#host.embedder.embed(texts, abort.signal));
    } finally {
      this.#embeds.delete(id);
    }
  }

  #read(prompt: EnginePrompt): number[] {
    checkPrompt(prompt);
    return this.#host.prompts.read(prompt);
  }

  #enqueue(job: PendingJob): void {
    const before = this.#pending.findIndex(
      (other) => job.priority === "interactive" && other.priority === "batch",
    );
    if (before < 0) this.#pending.push(job);
    else this.#pending.splice(before, 0, job);
    this.#lockstep.wake();
  }

  /** Gives free sequences to waiting jobs, at most `slots` at work whatever the versions. */
  async #admit(): Promise<void> {
    for (const job of [...this.#pending]) {
      if (this.#lockstep.active >= this.#host.options.slots) return;
      // Cancelled while another one's sequence was prepared.
      if (!this.#pending.includes(job)) continue;
      this.#admitting = job;
      const grant = await job.version.take(job.tokens, job.label);
      this.#admitting = null;
      const at = this.#pending.indexOf(job);
      if (at < 0) {
        // Cancelled while its sequence was prepared.
        if (grant !== null) job.version.giveBack(grant.slot);
        this.#release(job.version);
        continue;
      }
      if (grant === null) continue;
      this.#pending.splice(at, 1);
      this.#meter.reused += grant.shared;
      const run = job.start(grant);
      this.#runs.set(job.id, run);
      this.#lockstep.add(this.#releasing(job, run));
    }
  }

  /** The run, which also lets go of its version when it leaves. */
  #releasing(job: PendingJob, run: CancellableRun): LockstepRun {
    const leave = async () => {
      await run.leave();
      this.#runs.delete(job.id);
      this.#release(job.version);
    };
    return {
      sequence: run.sequence,
      get wanted() {
        return run.wanted;
      },
      get over() {
        return run.over;
      },
      step: (tokens) => run.step(tokens),
      fail: (problem) => run.fail(problem),
      leave,
    };
  }

  #release(version: VersionContext): void {
    version.users--;
    if (version.users === 0) this.#drained.get(version)?.();
  }

  async #drain(version: VersionContext): Promise<void> {
    if (version.users > 0) {
      await new Promise<void>((resolve) => this.#drained.set(version, resolve));
      this.#drained.delete(version);
    }
    await this.#host.endClose(version);
  }

  #reply(id: number, value: unknown): void {
    this.#outbox.after({ kind: "reply", id, value });
    // Runs settle within a step and are flushed with it; everything else goes out now.
    if (!this.#runs.has(id)) this.#outbox.flush();
  }

  #settle(id: number, fault: unknown): void {
    if (fault === null) this.#outbox.after({ kind: "reply", id, value: null });
    else this.#outbox.after({ kind: "fault", id, fault: recordFault(fault, "internal") });
  }

  #stepped(streams: number, prefillTokens: number): void {
    this.#meter.stepped(streams, prefillTokens);
    this.#report(false);
    this.#outbox.flushSoon();
  }

  #left(): void {
    this.#report(true);
    this.#outbox.flushSoon();
  }

  #report(always: boolean): void {
    const stats = this.#meter.report(this.#lockstep.active, this.#pending.length, always);
    if (stats !== null) this.#outbox.after({ kind: "stats", stats });
  }
}
