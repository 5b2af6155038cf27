// The body of POST /v1/chat/completions.
import type { IncomingHttpHeaders } from "node:http";
import { create } from "@bufbuild/protobuf";
import { z } from "zod";
import { GenerateRequestSchema } from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import { limits } from "../request-rules.ts";
import { type CompletionPlan, parseBody, planOf } from "./completion-plan.ts";
import { RequestError } from "./error-answer.ts";
import {
  chatOnlyFields,
  constraintOf,
  isEmpty,
  optional,
  responseFormat,
  samplingOf,
  sharedFields,
  stopOf,
  unsupported,
} from "./request-fields.ts";
import { checkSingleAnswer, completionTerms, termsOf } from "./request-terms.ts";

const PARTS_MAX = 256;

/** A text, or parts that are all text. */
const content = z.unknown().transform((value, context): string => {
  if (typeof value === "string") return value.toWellFormed();
  const refuse = (message: string, path: PropertyKey[] = [], code = "invalid_type") => {
    context.addIssue({ code: "custom", message, path, params: { code } });
    return z.NEVER;
  };
  if (!Array.isArray(value)) return refuse("expected a text or an array of text parts");
  if (value.length > PARTS_MAX) return refuse(`at most ${PARTS_MAX} parts`);
  let whole = "";
  for (const [at, part] of value.entries()) {
    const parsed = textPart.safeParse(part);
    if (!parsed.success) {
      return refuse("only parts {type: 'text', text} are supported", [at], "unsupported_content");
    }
    whole += parsed.data.text;
  }
  return whole.toWellFormed();
});

const textPart = z.strictObject({ type: z.literal("text"), text: z.string() });

const toolHint = ": this server doesn't call tools";
const message = z.strictObject({
  role: z.enum(["system", "developer", "user", "assistant"], {
    error: "expected one of system, developer, user, assistant (tools are not supported)",
  }),
  content,
  name: optional(z.string().max(64)),
  // What comes back with an assistant's message when a caller appends it as it was.
  refusal: unsupported(() => false),
  annotations: unsupported(isEmpty),
  audio: unsupported(() => false),
  tool_calls: unsupported(isEmpty, toolHint),
  function_call: unsupported(() => false, toolHint),
});

const chatBody = z.strictObject({
  ...sharedFields,
  ...chatOnlyFields,
  messages: z.array(message).min(1).max(limits.messagesMax),
  max_completion_tokens: sharedFields.max_tokens,
  logprobs: optional(z.boolean()),
  top_logprobs: optional(z.int().min(0).max(limits.topLogprobsMax)),
  response_format: optional(responseFormat),
  isthmus: optional(completionTerms),
});

/** Faults: throws a RequestError, or a Fault for a rule that gRPC shares. */
export function chatPlan(json: unknown, headers: IncomingHttpHeaders): CompletionPlan {
  const body = parseBody(chatBody, json);
  const terms = termsOf(body, headers);
  checkSingleAnswer(terms, body.n ?? 1);
  const logprobs = body.logprobs ?? false;
  if (body.top_logprobs != null && !logprobs) {
    const problem = "'top_logprobs' is only allowed when 'logprobs' is enabled.";
    throw new RequestError(400, "invalid_value", problem, "top_logprobs");
  }
  const messages = body.messages.map(({ role, content: text }) => ({
    role: role === "developer" ? "system" : role,
    content: text,
  }));
  const requests = Array.from({ length: body.n ?? 1 }, (_, choice) =>
    create(GenerateRequestSchema, {
      model: body.model,
      prompt: { case: "chat", value: { messages } },
      maxTokens: body.max_completion_tokens ?? body.max_tokens ?? 0,
      sampling: samplingOf(body, choice),
      stop: stopOf(body),
      ...constraintOf(body.response_format),
      ...terms,
      ...(logprobs && { topLogprobs: body.top_logprobs ?? 0 }),
    }),
  );
  return planOf(body, logprobs, requests);
}
