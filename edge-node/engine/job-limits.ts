// What a job may ask for, checked before any model sees it. One place for every bound on what
// callers send to an engine.
import { Fault } from "../../proto/fault.ts";
import type { EnginePrompt, GenerateJob } from "./engine.ts";

export const STOP_SEQUENCES_MAX = 16;
export const STOP_LENGTH_MAX = 256;
export const TOP_LOGPROBS_MAX = 20;
export const MESSAGES_MAX = 2048;
export const GRAMMAR_LENGTH_MAX = 65_536;
export const TEMPERATURE_MAX = 100;
export const EMBED_TEXTS_MAX = 2048;
const SEED_MAX = 0xffff_ffff;
const PENALTY_MAX = 100;
const ROLES = new Set(["system", "user", "assistant", "tool"]);

/** Faults: invalid-argument naming the field at fault. */
export function checkJob(job: GenerateJob): void {
  checkPrompt(job.prompt);
  whole(job.maxTokens, "max_tokens", 0, Number.MAX_SAFE_INTEGER);
  within(job.temperature, "temperature", 0, TEMPERATURE_MAX);
  within(job.topP, "top_p", 0, 1);
  whole(job.topK, "top_k", 0, SEED_MAX);
  within(job.minP, "min_p", 0, 1);
  whole(job.seed, "seed", 0, SEED_MAX);
  checkStop(job.stop);
  if (job.topLogprobs !== null) whole(job.topLogprobs, "top_logprobs", 0, TOP_LOGPROBS_MAX);
  if (job.repeatPenalty !== null) {
    within(job.repeatPenalty.penalty, "repeat_penalty", 0.01, PENALTY_MAX);
    within(job.repeatPenalty.frequencyPenalty, "frequency_penalty", -PENALTY_MAX, PENALTY_MAX);
    within(job.repeatPenalty.presencePenalty, "presence_penalty", -PENALTY_MAX, PENALTY_MAX);
  }
  if (job.resume !== null) {
    whole(job.resume.textLength, "resume.text_length", 0, Number.MAX_SAFE_INTEGER);
    checkIds(job.resume.tokens, "resume.ids");
  }
  checkConstraint(job);
}

export function checkPrompt(prompt: EnginePrompt): void {
  if (prompt.kind === "tokens") {
    checkIds(prompt.tokens, "prompt");
    if (prompt.tokens.length === 0) refuse("prompt", "must not be empty");
  } else if (prompt.kind === "chat") {
    if (prompt.messages.length === 0) refuse("messages", "must not be empty");
    if (prompt.messages.length > MESSAGES_MAX) refuse("messages", `takes at most ${MESSAGES_MAX}`);
    for (const message of prompt.messages) {
      if (!ROLES.has(message.role)) refuse("messages", `knows no role ${quote(message.role)}`);
    }
  }
}

export function checkIds(ids: readonly number[], param: string): void {
  for (const id of ids) {
    if (!Number.isInteger(id) || id < 0) refuse(param, "must hold token ids");
  }
}

function checkStop(stop: readonly string[]): void {
  if (stop.length > STOP_SEQUENCES_MAX) refuse("stop", `takes at most ${STOP_SEQUENCES_MAX}`);
  for (const sequence of stop) {
    if (sequence === "") refuse("stop", "must not hold an empty sequence");
    if (sequence.length > STOP_LENGTH_MAX) {
      refuse("stop", `takes sequences of at most ${STOP_LENGTH_MAX} characters`);
    }
  }
}

function checkConstraint(job: GenerateJob): void {
  const constraint = job.constraint;
  if (constraint === null || constraint.kind === "json-object") return;
  const text = constraint.kind === "grammar" ? constraint.gbnf : constraint.schema;
  if (text.length > GRAMMAR_LENGTH_MAX) {
    throw new Fault("payload-too-large", `the ${constraint.kind} is too long`, {
      param: "response_format",
    });
  }
}

function within(value: number, param: string, min: number, max: number): void {
  if (!(value >= min && value <= max)) refuse(param, `must be between ${min} and ${max}`);
}

function whole(value: number, param: string, min: number, max: number): void {
  if (!Number.isInteger(value)) refuse(param, "must be a whole number");
  within(value, param, min, max);
}

function refuse(param: string, why: string): never {
  throw new Fault("invalid-argument", `${param} ${why}`, { param });
}

function quote(text: string): string {
  return JSON.stringify(text.slice(0, 32));
}
