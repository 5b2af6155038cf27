// Teacher-forces given tokens on one sequence and says how far each is from the model's argmax.
import type { ControlledEvaluateInputItem, Token } from "node-llama-cpp";
import { asFault } from "../../../proto/fault.ts";
import type { TokenScore } from "../engine.ts";
import type { LockstepRun } from "./lockstep.ts";
import type { SlotGrant } from "./version-context.ts";

export interface ScoreTask {
  readonly prompt: readonly number[];
  readonly tokens: readonly number[];
  settle(fault: unknown, scores: readonly TokenScore[]): void;
}

export class ScoreRun implements LockstepRun {
  over = false;
  readonly #task: ScoreTask;
  readonly #grant: SlotGrant;
  /** What is read: the prompt and all but the last of the tokens. */
  readonly #all: readonly number[];
  readonly #scores: TokenScore[] = [];
  #read: number;

  constructor(task: ScoreTask, grant: SlotGrant) {
    this.#task = task;
    this.#grant = grant;
    this.#all = [...task.prompt, ...task.tokens.slice(0, -1)];
    this.#read = grant.shared;
  }

  get sequence(): number {
    return this.#grant.slot.index;
  }

  get wanted(): number {
    return this.#all.length - this.#read;
  }

  async step(tokens: number): Promise<void> {
    const unscored = this.#task.prompt.length - 1 - this.#read;
    const share = unscored > 0 ? Math.min(unscored, tokens) : tokens;
    const end = this.#read + share;
    if (unscored > 0) {
      const part = this.#all.slice(this.#read, end) as Token[];
      await this.#grant.slot.sequence.evaluateWithoutGeneratingNewTokens(part);
    } else {
      await this.#score(this.#read, end);
    }
    this.#read = end;
    if (this.over || this.wanted > 0) return;
    this.over = true;
    this.#task.settle(null, this.#scores);
  }

  cancel(): void {
    this.over = true;
  }

  fail(problem: unknown): void {
    if (this.over) return;
    this.over = true;
    this.#task.settle(asFault(problem), []);
  }

  async leave(): Promise<void> {
    this.#grant.slot.version.giveBack(this.#grant.slot);
  }

  async #score(from: number, to: number): Promise<void> {
    const given: number[] = [];
    const input: ControlledEvaluateInputItem[] = [];
    for (let at = from; at < to; at++) {
      const next = this.#task.tokens[at + 1 - this.#task.prompt.length]!;
      given.push(next);
      // At temperature 0 the selected token is the argmax, and its logit is left as it was.
      const logits = { filter: { tokens: [next as Token], includeSelected: true } };
      const generateNext = { token: true, logits, options: { temperature: 0 } };
      input.push([this.#all[at]! as Token, { generateNext }]);
    }
    const output = await this.#grant.slot.sequence.controlledEvaluate(input);
    for (const [index, id] of given.entries()) {
      const next = output[index]?.next;
      const argmax = next?.token;
      const best = argmax == null ? undefined : next?.logits?.get(argmax);
      const own = next?.logits?.get(id as Token);
      if (argmax == null || best === undefined || own === undefined) {
        throw new Error("the engine gave no logits");
      }
      this.#scores.push({ argmax, gap: argmax === id ? 0 : best - own });
    }
  }
}
