// A stream among sources that speak, fail, fall silent and answer in any order that a schedule
// says. Every source makes tokens of its own, so that a wrong one's token can't pass for right.
import { Fault, type FaultCode } from "../../../proto/fault.ts";
import type {
  GenerateRequest,
  GenerateResponse,
} from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import {
  advance,
  type StreamEffect,
  type StreamInput,
} from "../../../runtime/continuation/continuation-core.ts";
import { createStream, type StreamState } from "../../../runtime/continuation/stream-state.ts";
import type { Answer } from "../../../runtime/inference/inquiry.ts";
import { Caller, finished, promptRequest, started, tokens } from "./scripted-source.ts";

/** How one source behaves: it says so many batches, and then this happens. */
export interface SourcePlan {
  readonly batches: number;
  readonly end: FaultCode | "finish" | "silent-end" | "hang" | "gap";
  readonly hedgeAfterMs?: number;
}

/** What happens next; numbers choose among whatever there is to choose from. */
export type Step =
  | { readonly kind: "speak"; readonly which: number }
  | { readonly kind: "tick" }
  | { readonly kind: "overdue"; readonly which: number }
  | { readonly kind: "answer"; readonly which: number; readonly answer: Answer }
  | { readonly kind: "move-away"; readonly which: number }
  | { readonly kind: "pick"; readonly found: boolean }
  | { readonly kind: "waited" };

interface WorldSource {
  readonly attempt: number;
  readonly key: string;
  readonly messages: StreamInput[];
  isLive: boolean;
}

/** Ids that every source makes in all. */
export const COMPLETION_TOKENS = 6;
export const PROMPT_TOKENS = 7;
export const CACHED_TOKENS = 3;

export const edgeOf = (key: string): string => `edge-${key}`;
export const regionOf = (key: string): string => `region-${key}`;
const idOf = (attempt: number, index: number): number => attempt * 1000 + index;
export const attemptOf = (id: number): number => Math.floor(id / 1000);

export class StreamWorld {
  readonly caller = new Caller();
  readonly trouble: string[] = [];
  readonly sources: WorldSource[] = [];
  readonly state: StreamState;
  settled: { fault: Fault | null } | null = null;
  /** Sources sent away although they had done nothing wrong, while the stream went on. */
  readonly losers: WorldSource[] = [];
  readonly #plans: readonly SourcePlan[];
  readonly #overdue: number[] = [];
  readonly #asked: number[] = [];
  #picks: ReadonlySet<string>[] = [];
  #waiting = false;
  #keys = 0;
  #said = new Set<number>();

  constructor(plans: readonly SourcePlan[]) {
    this.#plans = plans;
    this.state = createStream(promptRequest());
    this.#take({ kind: "begin" });
  }

  step(step: Step): void {
    switch (step.kind) {
      case "speak": {
        // Those that were left go on speaking: nobody may listen.
        const source = choose(this.sources, step.which);
        const message = source?.messages.shift();
        if (source === undefined || message === undefined) return;
        const isStart = message.kind === "event" && message.event.event.case === "started";
        if (isStart && source.isLive) this.#said.add(source.attempt);
        this.#take(message);
        if (message.kind !== "event") source.isLive = false;
        return;
      }
      case "tick":
        this.#take({ kind: "tick" });
        return;
      case "overdue": {
        const attempt = choose(this.#overdue, step.which);
        if (attempt !== undefined) this.#take({ kind: "overdue", attempt });
        return;
      }
      case "answer": {
        const attempt = choose(this.#asked, step.which);
        if (attempt !== undefined) this.#take({ kind: "answered", attempt, answer: step.answer });
        return;
      }
      case "move-away": {
        const source = choose(this.sources, step.which);
        if (source !== undefined) {
          this.#take({ kind: "move-away", key: source.key, reason: "the schedule says so" });
        }
        return;
      }
      case "pick":
        this.#answerPick(step.found);
        return;
      case "waited":
        if (this.#waiting) {
          this.#waiting = false;
          this.#take({ kind: "waited" });
        }
    }
  }

  /** Lets the rest of the world behave, until the stream has settled. */
  finish(): void {
    for (let n = 0; this.settled === null; n += 1) {
      if (n > 5000) throw new Error(`the stream is stuck: ${this.state.phase}`);
      this.step({ kind: "pick", found: true });
      this.step({ kind: "waited" });
      for (const which of this.sources.keys()) this.step({ kind: "speak", which });
      this.step({ kind: "tick" });
    }
    // What is still on its way when all is over must do nothing.
    for (const which of this.sources.keys()) {
      for (let n = 0; n < COMPLETION_TOKENS + 2; n += 1) this.step({ kind: "speak", which });
    }
    this.#take({ kind: "tick" });
    this.#take({ kind: "waited" });
  }

  /** Prompt tokens that lost races read in vain. */
  get losersTokens(): number {
    const read = this.losers.filter(({ attempt }) => this.#said.has(attempt));
    return read.length * (PROMPT_TOKENS - CACHED_TOKENS);
  }

  #answerPick(found: boolean): void {
    const excluded = this.#picks.shift();
    if (excluded === undefined) return;
    if (!found) {
      this.#take({ kind: "nowhere", fault: null });
      return;
    }
    const key = `k${this.#keys}`;
    this.#keys += 1;
    if (excluded.has(key)) this.trouble.push("a key was used twice");
    const { hedgeAfterMs } = this.#planOf(this.state.attempt);
    const hint = hedgeAfterMs === undefined ? {} : { hedgeAfterMs };
    this.#take({ kind: "picked", key, edge: edgeOf(key), region: regionOf(key), ...hint });
    const last = this.sources.at(-1);
    if (last !== undefined && !last.key) this.trouble.push("a source without a key");
  }

  #planOf(opened: number): SourcePlan {
    return this.#plans[opened] ?? { batches: COMPLETION_TOKENS, end: "finish" };
  }

  #take(input: StreamInput): void {
    const over = this.settled !== null;
    const effects = advance(this.state, input);
    if (over && effects.length > 0) this.trouble.push(`effects after the end: ${input.kind}`);
    for (const effect of effects) this.#perform(effect, input);
    if (this.sources.filter(({ isLive }) => isLive).length > 2) {
      this.trouble.push("more than two sources at once");
    }
  }

  #perform(effect: StreamEffect, input: StreamInput): void {
    switch (effect.kind) {
      case "pick":
        this.#picks.push(effect.excluded);
        if (this.#picks.length > 1) this.trouble.push("two choices at once");
        return;
      case "open":
        this.#open(effect.attempt, effect.request, input);
        return;
      case "emit":
        this.#emit(effect.event, input);
        return;
      case "abort": {
        const source = this.sources.find(({ attempt }) => attempt === effect.attempt);
        if (source === undefined || !source.isLive) this.trouble.push("aborted twice");
        else {
          source.isLive = false;
          const isLost = input.kind === "event" && input.attempt !== effect.attempt;
          if (effect.fault === null && isLost) this.losers.push(source);
        }
        return;
      }
      case "ask":
        this.#asked.push(effect.attempt);
        return;
      case "hedge-after":
        this.#overdue.push(effect.attempt);
        return;
      case "wait":
        this.#waiting = true;
        return;
      case "settle":
        if (this.settled !== null) this.trouble.push("settled twice");
        this.settled = { fault: effect.fault };
    }
  }

  #open(attempt: number, request: GenerateRequest, input: StreamInput): void {
    if (input.kind !== "picked") throw new Error("opened without a choice");
    const { key } = input;
    const { ids = [] } = request.resume ?? {};
    if (ids.join() !== this.caller.ids.join()) this.trouble.push("resumed from something else");
    if ((request.resume?.textLength ?? 0) !== this.caller.text.length) {
      this.trouble.push("resumed from another text");
    }
    const messages = [...messagesOf(attempt, key, ids.length, this.#planOf(attempt - 1))];
    this.sources.push({ attempt, key, messages, isLive: true });
  }

  #emit(event: GenerateResponse, input: StreamInput): void {
    if (input.kind !== "event") throw new Error("emitted without an event");
    const speaker = this.sources.find(({ attempt }) => attempt === input.attempt);
    if (speaker?.isLive !== true) this.trouble.push("a source that was left was heard");
    this.caller.onEvent(event);
    if (event.event.case !== "tokens") return;
    for (const id of event.event.value.ids) {
      if (attemptOf(id) !== input.attempt) this.trouble.push("a token of another source");
    }
  }
}

function choose<T>(from: readonly T[], which: number): T | undefined {
  return from.length === 0 ? undefined : from[which % from.length];
}

function* messagesOf(
  attempt: number,
  key: string,
  from: number,
  { batches, end }: SourcePlan,
): Generator<StreamInput, void, undefined> {
  const event = (response: GenerateResponse): StreamInput => ({
    kind: "event",
    attempt,
    event: response,
  });
  const start = started(edgeOf(key));
  if (start.event.case === "started") start.event.value.region = regionOf(key);
  yield event(start);
  const until = end === "finish" ? COMPLETION_TOKENS : Math.min(from + batches, COMPLETION_TOKENS);
  for (let index = from; index < until; index += 1) {
    yield event(tokens(index, [idOf(attempt, index)], `${attempt}.${index} `));
  }
  if (end === "hang") return;
  if (end === "gap") {
    yield event(tokens(until + 1, [idOf(attempt, until + 1)], "?"));
    return;
  }
  if (end === "finish") yield event(finished(`end ${attempt}`, COMPLETION_TOKENS));
  if (end === "finish" || end === "silent-end") yield { kind: "ended", attempt };
  else yield { kind: "failed", attempt, fault: new Fault(end, "planned") };
}
