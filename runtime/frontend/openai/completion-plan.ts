// What an OpenAI completion request asks for, once it is understood: one GenerateRequest a choice.
import type { z } from "zod";
import { Fault } from "../../../proto/fault.ts";
import type { GenerateRequest } from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import { modelPattern } from "../../../proto/ids.ts";
import { checkGenerate } from "../request-rules.ts";
import { type ToolPlan, toolRefusal } from "./chat-tools.ts";
import { RequestError, schemaError } from "./error-answer.ts";

export interface CompletionPlan {
  readonly model: string;
  readonly stream: boolean;
  readonly includeUsage: boolean;
  readonly logprobs: boolean;
  /** What the model may call; null for nothing, so that its answer is just text. */
  readonly tools: ToolPlan | null;
  /** By choice index: prompt by prompt, the choices of one prompt side by side. */
  readonly requests: readonly GenerateRequest[];
  /** Choices of each prompt. */
  readonly n: number;
}

interface StreamFields {
  readonly model: string;
  readonly stream?: boolean | null | undefined;
  readonly stream_options?:
    | { readonly include_usage?: boolean | null | undefined }
    | null
    | undefined;
  readonly n?: number | null | undefined;
}

/** Checks a body through its schema. Faults: throws a RequestError that names the field. */
export function parseBody<S extends z.ZodType>(schema: S, json: unknown): z.output<S> {
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new RequestError(400, "invalid_type", "The body must be a JSON object.");
  }
  const parsed = schema.safeParse(json);
  if (!parsed.success) throw schemaError(parsed.error.issues, json);
  return parsed.data;
}

interface PlanParts extends Pick<CompletionPlan, "logprobs" | "tools" | "requests"> {
  readonly body: StreamFields;
}

/** Faults: throws a RequestError, or a Fault for a rule that gRPC shares. */
export function planOf({ body, logprobs, tools, requests }: PlanParts): CompletionPlan {
  const stream = body.stream ?? false;
  if (body.stream_options != null && !stream) {
    const param = "stream_options";
    const message = `The '${param}' parameter is only allowed when 'stream' is enabled.`;
    throw new RequestError(400, "invalid_value", message, param);
  }
  checkModelName(body.model);
  try {
    for (const request of requests) checkGenerate(request);
  } catch (thrown) {
    throw toolRefusal(thrown, tools);
  }
  return {
    model: body.model,
    stream,
    includeUsage: body.stream_options?.include_usage ?? false,
    logprobs,
    tools,
    requests,
    n: body.n ?? 1,
  };
}

/** A name that no model can have is a model that doesn't exist. */
export function checkModelName(model: string): void {
  if (modelPattern.test(model)) return;
  const message = `The model '${model.slice(0, 100).toWellFormed()}' does not exist`;
  throw new Fault("model-not-found", message, { param: "model" });
}
