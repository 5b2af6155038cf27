// What a request must look like before any engine sees it. Breaking a rule is a Fault that names
// the field; whether the model exists and the prompt fits is for the backend to say.
import { Fault } from "../../proto/fault.ts";
import {
  type ChatMessage,
  type Constraint,
  type EmbedRequest,
  type GenerateRequest,
  Priority,
  type Sampling,
  type ScoreRequest,
} from "../../proto/gen/isthmus/v1/inference_pb.ts";
import { modelPattern, namePattern } from "../../proto/ids.ts";
import { nestsDeeper } from "../tools/json-depth.ts";
import { readToolCalls, readTools, toolLimits } from "../tools/tool-spec.ts";

export const limits = {
  messagesMax: 2048,
  promptTokensMax: 1 << 20,
  completionTokensMax: 1 << 20,
  temperatureMax: 2,
  topKMax: 100_000,
  stopMax: 16,
  stopCharsMax: 512,
  topLogprobsMax: 20,
  constraintCharsMax: 64 << 10,
  schemaDepthMax: 32,
  /** A schema of the deepest kind within one that lets a model choose among tools. */
  constraintDepthMax: 36,
  embedInputsMax: 2048,
  versionCharsMax: 256,
  /** Regions, or jurisdictions, that one policy names. */
  policyNamesMax: 64,
  policyWeightMax: 1e6,
} as const;

/** A session is part of URLs and of keys. */
export const sessionPattern = /^[a-zA-Z0-9](?:[a-zA-Z0-9_-]{0,126}[a-zA-Z0-9])?$/;
/** A tenant may be an address or a path of names. */
export const tenantPattern = /^[a-zA-Z0-9][a-zA-Z0-9._:@/-]{0,127}$/;

const roles: ReadonlySet<string> = new Set(["system", "user", "assistant", "tool"]);
const priorities: ReadonlySet<number> = new Set(Object.values(Priority));

export function checkGenerate(request: GenerateRequest): void {
  checkModel(request.model);
  checkPrompt(request.prompt);
  atMost("max_tokens", request.maxTokens, limits.completionTokensMax);
  if (request.sampling) checkSampling(request.sampling);
  checkStop(request.stop);
  if (request.constraint) checkConstraint(request.constraint);
  atMost("top_logprobs", request.topLogprobs ?? 0, limits.topLogprobsMax);
  atMost("resume.ids", request.resume?.ids.length ?? 0, limits.completionTokensMax);
  if (!priorities.has(request.priority)) refuse("priority", "isn't a known priority");
  atMost("version", request.version.length, limits.versionCharsMax);
  if (request.sessionId !== "" && !sessionPattern.test(request.sessionId)) {
    refuse("session_id", `must match ${sessionPattern}`);
  }
  checkTerms(request);
}

export function checkEmbed(request: EmbedRequest): void {
  checkModel(request.model);
  checkTerms(request);
  if (request.inputs.length === 0) refuse("inputs", "must hold at least one text");
  atMost("inputs", request.inputs.length, limits.embedInputsMax);
  const empty = request.inputs.indexOf("");
  if (empty >= 0) refuse(`inputs[${empty}]`, "must not be empty");
}

export function checkScore(request: ScoreRequest): void {
  checkModel(request.model);
  checkPrompt(request.prompt);
  if (request.ids.length === 0) refuse("ids", "must hold at least one token id");
  atMost("ids", request.ids.length, limits.completionTokensMax);
  atMost("version", request.version.length, limits.versionCharsMax);
  checkTerms(request);
}

function checkTerms({ tenant, policy }: Pick<ScoreRequest, "tenant" | "policy">): void {
  if (tenant !== "" && !tenantPattern.test(tenant)) {
    refuse("tenant", `must match ${tenantPattern}`);
  }
  if (policy === undefined) return;
  for (const field of ["regions", "jurisdictions"] as const) {
    atMost(`policy.${field}`, policy[field].length, limits.policyNamesMax);
    const wrong = policy[field].findIndex((name) => !namePattern.test(name));
    if (wrong >= 0) refuse(`policy.${field}[${wrong}]`, `must match ${namePattern}`);
  }
  within("policy.ms_per_gram", policy.msPerGram, limits.policyWeightMax);
  within("policy.ms_per_cost", policy.msPerCost, limits.policyWeightMax);
}

function checkModel(model: string): void {
  if (model === "") refuse("model", "is missing");
  if (!modelPattern.test(model)) refuse("model", `must match ${modelPattern}`);
}

function checkPrompt(prompt: GenerateRequest["prompt"]): void {
  if (prompt.case === undefined) refuse("prompt", "is missing: set text, chat or tokens");
  if (prompt.case === "text" && prompt.value === "") refuse("text", "must not be empty");
  if (prompt.case === "tokens") {
    if (prompt.value.ids.length === 0) refuse("tokens.ids", "must hold at least one token id");
    atMost("tokens.ids", prompt.value.ids.length, limits.promptTokensMax);
  }
  if (prompt.case === "chat") {
    checkMessages(prompt.value.messages);
    readTools(prompt.value.tools, "chat.tools");
  }
}

function checkMessages(messages: readonly ChatMessage[]): void {
  if (messages.length === 0) refuse("chat.messages", "must hold at least one message");
  atMost("chat.messages", messages.length, limits.messagesMax);
  for (const [at, { role, toolCalls, toolCallId }] of messages.entries()) {
    const field = `chat.messages[${at}]`;
    if (!roles.has(role)) refuse(`${field}.role`, `must be one of ${[...roles].join(", ")}`);
    if (toolCalls !== "") {
      if (role !== "assistant") refuse(`${field}.tool_calls`, "are for an assistant to make");
      readToolCalls(toolCalls, `${field}.tool_calls`);
    }
    atMost(`${field}.tool_call_id`, toolCallId.length, toolLimits.callIdCharsMax);
  }
}

function checkSampling(sampling: Sampling): void {
  within("sampling.temperature", sampling.temperature, limits.temperatureMax);
  within("sampling.top_p", sampling.topP, 1);
  within("sampling.min_p", sampling.minP, 1);
  atMost("sampling.top_k", sampling.topK ?? 0, limits.topKMax);
}

function checkStop(stop: readonly string[]): void {
  atMost("stop", stop.length, limits.stopMax);
  for (const [at, text] of stop.entries()) {
    if (text === "") refuse(`stop[${at}]`, "must not be empty");
    atMost(`stop[${at}]`, text.length, limits.stopCharsMax);
  }
}

function checkConstraint({ kind }: Constraint): void {
  if (kind.case === "grammar") {
    if (kind.value === "") refuse("constraint.grammar", "must not be empty");
    atMost("constraint.grammar", kind.value.length, limits.constraintCharsMax);
  }
  if (kind.case === "jsonSchema") checkJsonSchema(kind.value);
}

function checkJsonSchema(text: string): void {
  const field = "constraint.json_schema";
  atMost(field, text.length, limits.constraintCharsMax);
  const schema = parsedJson(text);
  if (typeof schema !== "object" || schema === null || Array.isArray(schema)) {
    refuse(field, "must be a valid JSON object");
  }
  if (nestsDeeper(schema, limits.constraintDepthMax)) {
    refuse(field, `nests deeper than ${limits.constraintDepthMax} levels`);
  }
}

/** Undefined when it isn't JSON. */
function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** From 0 to `max`; NaN and infinities are out. */
function within(field: string, value: number | undefined, max: number): void {
  if (value === undefined || (value >= 0 && value <= max)) return;
  refuse(field, `must be from 0 to ${max}`);
}

function atMost(field: string, value: number, max: number): void {
  if (value > max) refuse(field, `must be at most ${max}, got ${value}`);
}

function refuse(field: string, what: string): never {
  throw new Fault("invalid-argument", `${field} ${what}`, { param: field });
}
