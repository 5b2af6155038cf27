// One completion on one sequence: reads the prompt in shares, then generates a token a step.
import type {
  SequenceEvaluateMetadataOptions,
  SequenceEvaluateOptions,
  SequenceEvaluateOutput,
  Token,
} from "node-llama-cpp";
import { asFault } from "../../../proto/fault.ts";
import type { CompletionEnd } from "../completion.ts";
import type { GenerateEvent, TokenLogprob } from "../engine.ts";
import { positionSeed } from "../position-seed.ts";
import type { Generation } from "./generation.ts";
import type { LockstepRun } from "./lockstep.ts";
import type { SlotGrant } from "./version-context.ts";

/** llama.cpp takes the largest seed for "any seed". */
const SEED_MAX = 0xffff_fffe;
/** How many of the last tokens a repetition penalty looks at. */
const PENALTY_WINDOW = 256;

export interface GenerateTask extends Generation {
  emit(event: GenerateEvent): void;
  settle(fault: unknown): void;
}

type Output = SequenceEvaluateOutput<{ readonly probabilities: true }> | { token: Token };
type Tokens = AsyncGenerator<Output, void, undefined>;

export class GenerateRun implements LockstepRun {
  over = false;
  readonly #task: GenerateTask;
  readonly #grant: SlotGrant;
  readonly #cachedTokens: number;
  #read: number;
  #tokens: Tokens | null = null;

  constructor(task: GenerateTask, grant: SlotGrant) {
    this.#task = task;
    this.#grant = grant;
    this.#read = grant.shared;
    this.#cachedTokens = grant.shared;
    task.emit({
      kind: "started",
      promptTokens: task.promptTokens,
      cachedTokens: grant.shared,
      version: grant.slot.version.spec.id,
    });
  }

  get sequence(): number {
    return this.#grant.slot.index;
  }

  get wanted(): number {
    return this.#task.tokens.length - 1 - this.#read;
  }

  async step(tokens: number): Promise<void> {
    if (tokens > 0) return this.#readPrompt(tokens);
    this.#tokens ??= this.#generate();
    const next = await this.#tokens.next();
    if (this.over) return;
    if (next.done === true) throw new Error("the sequence ended by itself");
    this.#accept(next.value);
  }

  /** The caller doesn't want it any more. */
  cancel(): void {
    this.over = true;
  }

  fail(problem: unknown): void {
    if (this.over) return;
    this.over = true;
    this.#task.settle(asFault(problem));
  }

  async leave(): Promise<void> {
    await this.#tokens?.return();
    this.#grant.slot.version.giveBack(this.#grant.slot);
  }

  async #readPrompt(tokens: number): Promise<void> {
    const share = this.#task.tokens.slice(this.#read, this.#read + tokens) as Token[];
    await this.#grant.slot.sequence.evaluateWithoutGeneratingNewTokens(share);
    this.#read += share.length;
  }

  #generate(): Tokens {
    const { job, completion, tokens } = this.#task;
    const last = [tokens.at(-1)!] as Token[];
    const options: SequenceEvaluateOptions = {
      temperature: job.temperature,
      topP: job.topP,
      topK: job.topK,
      minP: job.minP,
      seed: Math.min(SEED_MAX, positionSeed(job.seed, completion.ids.length)),
      yieldEogToken: true,
      ...(this.#task.grammar === null ? {} : { grammarEvaluationState: this.#task.grammar }),
      ...this.#penalty(),
    };
    const metadata: SequenceEvaluateMetadataOptions =
      job.topLogprobs === null ? {} : { probabilities: true };
    return this.#grant.slot.sequence.evaluateWithMetadata(last, metadata, options) as Tokens;
  }

  #penalty(): Pick<SequenceEvaluateOptions, "repeatPenalty"> {
    const penalty = this.#task.job.repeatPenalty;
    if (penalty === null) return {};
    const ids = this.#task.completion.ids;
    return {
      repeatPenalty: {
        punishTokens: () => ids.slice(-PENALTY_WINDOW) as Token[],
        maxPunishTokens: PENALTY_WINDOW,
        penalty: penalty.penalty,
        frequencyPenalty: penalty.frequencyPenalty,
        presencePenalty: penalty.presencePenalty,
      },
    };
  }

  #accept(output: Output): void {
    const { completion } = this.#task;
    const index = completion.ids.length;
    const { text, end } = completion.accept(output.token);
    if (completion.ids.length > index) {
      const logprobs = this.#logprobs(output);
      this.#task.emit({ kind: "tokens", index, ids: [output.token], text, logprobs });
      if (end !== null) this.#finish(end, end.text);
    } else if (end !== null) {
      this.#finish(end, text + end.text);
    }
  }

  #finish(end: CompletionEnd, text: string): void {
    this.over = true;
    this.#task.emit({
      kind: "finished",
      reason: end.reason,
      stopSequence: end.stopSequence,
      text,
      promptTokens: this.#task.promptTokens,
      cachedTokens: this.#cachedTokens,
      completionTokens: this.#task.completion.ids.length,
      endToken: end.endToken,
    });
    this.#task.settle(null);
  }

  #logprobs(output: Output): TokenLogprob[] | null {
    const most = this.#task.job.topLogprobs;
    if (most === null || !("probabilities" in output)) return null;
    const scored = (id: number, probability: number) => ({
      id,
      text: this.#task.textOf(id),
      logprob: Math.log(probability),
    });
    const top = [];
    // The map is in order of falling probability.
    for (const [id, probability] of output.probabilities) {
      if (top.length >= most) break;
      if (probability > 0) top.push(scored(id, probability));
    }
    const own = output.probabilities.get(output.token) ?? 0;
    return [{ ...scored(output.token, own), top }];
  }
}
