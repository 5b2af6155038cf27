// The body of POST /v1/embeddings, and its answer.
import type { IncomingHttpHeaders } from "node:http";
import { create } from "@bufbuild/protobuf";
import { z } from "zod";
import {
  type EmbedRequest,
  EmbedRequestSchema,
  type EmbedResponse,
} from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import { checkEmbed, limits } from "../request-rules.ts";
import { checkModelName, parseBody } from "./completion-plan.ts";
import { optional, unsupported } from "./request-fields.ts";
import { embeddingTerms, termsOf } from "./request-terms.ts";

const input = z.unknown().transform((value, context): string[] => {
  const texts = typeof value === "string" ? [value] : value;
  const refuse = (message: string, code = "invalid_type") => {
    context.addIssue({ code: "custom", message, params: { code } });
    return z.NEVER;
  };
  if (!Array.isArray(texts)) return refuse("expected a text or an array of texts");
  if (texts.length === 0) return refuse("must hold at least one text", "invalid_value");
  if (texts.length > limits.embedInputsMax) {
    return refuse(`at most ${limits.embedInputsMax} texts`, "invalid_value");
  }
  if (texts.some((text) => typeof text === "number" || Array.isArray(text))) {
    return refuse("token arrays are not supported; send texts", "unsupported_parameter");
  }
  if (!texts.every((text) => typeof text === "string")) return refuse("expected only texts");
  if (texts.includes("")) return refuse("must not hold an empty text", "invalid_value");
  return texts.map((text) => text.toWellFormed());
});

const embeddingsBody = z.strictObject({
  model: z.string(),
  input,
  encoding_format: optional(z.enum(["float", "base64"])),
  dimensions: unsupported(() => false, ": the model decides"),
  user: optional(z.string().max(limits.stopCharsMax)),
  isthmus: optional(embeddingTerms),
});

export interface EmbeddingsPlan {
  readonly request: EmbedRequest;
  readonly base64: boolean;
}

/** Faults: throws a RequestError, or a Fault for a rule that gRPC shares. */
export function embeddingsPlan(json: unknown, headers: IncomingHttpHeaders): EmbeddingsPlan {
  const body = parseBody(embeddingsBody, json);
  checkModelName(body.model);
  const { tenant, policy } = termsOf(body, headers);
  const request = create(EmbedRequestSchema, {
    model: body.model,
    inputs: body.input,
    tenant,
    ...(policy !== undefined && { policy }),
  });
  checkEmbed(request);
  return { request, base64: body.encoding_format === "base64" };
}

export function embeddingsAnswer({ request, base64 }: EmbeddingsPlan, response: EmbedResponse) {
  return {
    object: "list",
    data: response.embeddings.map(({ values }, index) => ({
      object: "embedding",
      index,
      embedding: base64 ? base64Of(values) : values,
    })),
    model: request.model,
    usage: { prompt_tokens: response.promptTokens, total_tokens: response.promptTokens },
    isthmus: { edge: response.edge },
  };
}

/** Little-endian float32, as OpenAI's clients expect. */
function base64Of(values: readonly number[]): string {
  const bytes = Buffer.allocUnsafe(values.length * 4);
  for (const [at, value] of values.entries()) bytes.writeFloatLE(value, at * 4);
  return bytes.toString("base64");
}
