// What the engine is asked to do, made from what the caller asked for: defaults filled in, wire
// types turned into the engine's own.

import { Fault } from "../../proto/fault.ts";
import type {
  ChatMessage as ChatMessageMessage,
  Constraint as ConstraintMessage,
  GenerateRequest,
  ScoreRequest,
} from "../../proto/gen/isthmus/v1/inference_pb.ts";
import { Priority } from "../../proto/gen/isthmus/v1/inference_pb.ts";
import { readToolCalls, readTools } from "../../runtime/tools/tool-spec.ts";
import type { ChatMessage, Constraint, EnginePrompt, GenerateJob } from "../engine/engine.ts";

const DEFAULT_TEMPERATURE = 1;
const DEFAULT_TOP_P = 1;

export interface JobContext {
  /** The engine's name of the version to use. */
  readonly engineVersion: string;
  /** Seed for a caller who named none; unsigned 32-bit. */
  readonly seed: number;
}

/** Requires: a request that passed the frontend's rules (checkGenerate). */
export function toGenerateJob(request: GenerateRequest, context: JobContext): GenerateJob {
  const { sampling, resume } = request;
  return {
    prompt: toEnginePrompt(request.prompt),
    resume:
      resume === undefined ? null : { tokens: resume.ids.slice(), textLength: resume.textLength },
    maxTokens: request.maxTokens,
    temperature: sampling?.temperature ?? DEFAULT_TEMPERATURE,
    topP: sampling?.topP ?? DEFAULT_TOP_P,
    topK: sampling?.topK ?? 0,
    minP: sampling?.minP ?? 0,
    seed: sampling?.seed ?? context.seed,
    repeatPenalty: null,
    stop: request.stop,
    constraint: toConstraint(request.constraint),
    topLogprobs: request.topLogprobs ?? null,
    version: context.engineVersion,
    priority: request.priority === Priority.BATCH ? "batch" : "interactive",
  };
}

/** Faults: `invalid-argument` when there is no prompt. */
export function toEnginePrompt(
  prompt: GenerateRequest["prompt"] | ScoreRequest["prompt"],
): EnginePrompt {
  switch (prompt.case) {
    case "text":
      return { kind: "text", text: prompt.value };
    case "tokens":
      return { kind: "tokens", tokens: prompt.value.ids };
    case "chat":
      return {
        kind: "chat",
        messages: prompt.value.messages.map(toEngineMessage),
        ...(prompt.value.tools !== "" && { tools: readTools(prompt.value.tools, "chat.tools") }),
      };
    default:
      throw new Fault("invalid-argument", "prompt is missing", { param: "prompt" });
  }
}

function toEngineMessage(message: ChatMessageMessage): ChatMessage {
  const { role, content, toolCalls, toolCallId } = message;
  return {
    role: role as ChatMessage["role"],
    content,
    ...(toolCalls !== "" && { toolCalls: readToolCalls(toolCalls, "chat.messages.tool_calls") }),
    ...(toolCallId !== "" && { toolCallId }),
  };
}

function toConstraint(message: ConstraintMessage | undefined): Constraint | null {
  const kind = message?.kind;
  switch (kind?.case) {
    case "jsonSchema":
      return { kind: "json-schema", schema: kind.value };
    case "jsonObject":
      return kind.value ? { kind: "json-object" } : null;
    case "grammar":
      return { kind: "grammar", gbnf: kind.value };
    default:
      return null;
  }
}
