// The body of POST /v1/completions, OpenAI's legacy interface to plain prompts.
import type { IncomingHttpHeaders } from "node:http";
import { create } from "@bufbuild/protobuf";
import { z } from "zod";
import {
  type GenerateRequest,
  GenerateRequestSchema,
} from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import { limits } from "../request-rules.ts";
import { type CompletionPlan, parseBody, planOf } from "./completion-plan.ts";
import { RequestError } from "./error-answer.ts";
import {
  CHOICES_MAX,
  constraintOf,
  listOf,
  optional,
  responseFormat,
  samplingOf,
  sharedFields,
  stopOf,
  textOnlyFields,
} from "./request-fields.ts";
import { checkSingleAnswer, completionTerms, termsOf } from "./request-terms.ts";

/** What OpenAI takes when a legacy request names none. */
const MAX_TOKENS_DEFAULT = 16;
const LOGPROBS_MAX = 5;

const text = z.string().min(1);
const tokenIds = z
  .array(
    z
      .int()
      .min(0)
      .max(2 ** 32 - 1),
  )
  .min(1)
  .max(limits.promptTokensMax);

const textBody = z.strictObject({
  ...sharedFields,
  ...textOnlyFields,
  prompt: z.union([text, tokenIds, listOf(text), listOf(tokenIds)], {
    error: "expected a text, an array of token ids, or an array of either, none of them empty",
  }),
  logprobs: optional(z.int().min(0).max(LOGPROBS_MAX)),
  response_format: optional(responseFormat),
  isthmus: optional(completionTerms),
});

type Prompt = GenerateRequest["prompt"];

/** Faults: throws a RequestError, or a Fault for a rule that gRPC shares. */
export function textPlan(json: unknown, headers: IncomingHttpHeaders): CompletionPlan {
  const body = parseBody(textBody, json);
  const terms = termsOf(body, headers);
  const prompts = promptsOf(body.prompt);
  const n = body.n ?? 1;
  if (prompts.length * n > CHOICES_MAX) {
    const problem = `At most ${CHOICES_MAX} choices in one request (prompts times n).`;
    throw new RequestError(400, "invalid_value", problem, "n");
  }
  checkSingleAnswer(terms, prompts.length * n);
  const requests = prompts.flatMap((prompt) =>
    Array.from({ length: n }, (_, choice) =>
      create(GenerateRequestSchema, {
        model: body.model,
        prompt,
        maxTokens: body.max_tokens ?? MAX_TOKENS_DEFAULT,
        sampling: samplingOf(body, choice),
        stop: stopOf(body),
        ...constraintOf(body.response_format),
        ...terms,
        ...(body.logprobs != null && { topLogprobs: body.logprobs }),
      }),
    ),
  );
  return planOf({ body, logprobs: body.logprobs != null, tools: null, requests });
}

function promptsOf(prompt: z.output<typeof textBody>["prompt"]): Prompt[] {
  if (typeof prompt === "string") return [textPrompt(prompt)];
  if (typeof prompt[0] === "number") return [tokenPrompt(prompt as number[])];
  return (prompt as (string | number[])[]).map((one) =>
    typeof one === "string" ? textPrompt(one) : tokenPrompt(one),
  );
}

function textPrompt(value: string): Prompt {
  return { case: "text", value: value.toWellFormed() };
}

function tokenPrompt(ids: number[]): Prompt {
  return { case: "tokens", value: { $typeName: "isthmus.v1.TokenPrompt", ids } };
}
