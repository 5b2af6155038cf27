// The body of POST /v1/chat/completions.
import type { IncomingHttpHeaders } from "node:http";
import { create } from "@bufbuild/protobuf";
import { z } from "zod";
import { GenerateRequestSchema } from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import { limits } from "../request-rules.ts";
import { chatMessages, wireMessages } from "./chat-messages.ts";
import { toolFields, toolPlan } from "./chat-tools.ts";
import { type CompletionPlan, parseBody, planOf } from "./completion-plan.ts";
import { RequestError } from "./error-answer.ts";
import {
  chatOnlyFields,
  optional,
  responseFormat,
  samplingOf,
  sharedFields,
  stopOf,
} from "./request-fields.ts";
import { checkSingleAnswer, completionTerms, termsOf } from "./request-terms.ts";

const chatBody = z.strictObject({
  ...sharedFields,
  ...chatOnlyFields,
  ...toolFields,
  messages: chatMessages,
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
  const { plan: tools, constraint } = toolPlan(body);
  const chat = { messages: wireMessages(body.messages), tools: tools?.json ?? "" };
  const requests = Array.from({ length: body.n ?? 1 }, (_, choice) =>
    create(GenerateRequestSchema, {
      model: body.model,
      prompt: { case: "chat", value: chat },
      maxTokens: body.max_completion_tokens ?? body.max_tokens ?? 0,
      sampling: samplingOf(body, choice),
      stop: stopOf(body),
      ...constraint,
      ...terms,
      ...(logprobs && { topLogprobs: body.top_logprobs ?? 0 }),
    }),
  );
  return planOf({ body, logprobs, tools, requests });
}
