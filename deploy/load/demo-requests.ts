// What the demo model is asked: commands of its own domain, and lists that a schema makes long.
import { create } from "@bufbuild/protobuf";
import {
  type GenerateRequest,
  GenerateRequestSchema,
} from "../../proto/gen/isthmus/v1/inference_pb.ts";
import { makeHomeHeldOut } from "../demo-model/datasets.ts";

export function prompts(count: number): string[] {
  return makeHomeHeldOut(count).map(({ prompt }) => prompt);
}

export function chatRequest(prompt: string) {
  return create(GenerateRequestSchema, {
    model: "commands",
    prompt: { case: "chat", value: { messages: [{ role: "user", content: prompt }] } },
    maxTokens: 96,
    sampling: { temperature: 0 },
  });
}

/** How many values `listRequest` asks for; each is a handful of tokens. */
export const LIST_ITEMS = 40;
const LIST_TOKENS_MAX = 600;
export const listSchema = {
  type: "object",
  properties: {
    colors: {
      type: "array",
      items: { enum: ["red", "green", "blue"] },
      minItems: LIST_ITEMS,
      maxItems: LIST_ITEMS,
    },
  },
  required: ["colors"],
  additionalProperties: false,
} as const;

/** A request whose answer is long whatever the model would say: a list that a schema demands. */
export function listRequest(
  prompt: string,
  sampling: { temperature: number; seed?: number } = { temperature: 0 },
  policy: { hedge?: boolean } = {},
): GenerateRequest {
  return create(GenerateRequestSchema, {
    model: "commands",
    prompt: { case: "chat", value: { messages: [{ role: "user", content: prompt }] } },
    maxTokens: LIST_TOKENS_MAX,
    sampling,
    policy,
    constraint: { kind: { case: "jsonSchema", value: JSON.stringify(listSchema) } },
  });
}
