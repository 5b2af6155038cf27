// How long a prompt is, in tokens, before anybody has tokenized it: good enough to compare edges.
import type {
  EmbedRequest,
  GenerateRequest,
  ScoreRequest,
} from "../../proto/gen/isthmus/v1/inference_pb.ts";

const CHARS_PER_TOKEN = 4;
/** What a chat template wraps around each message. */
const TOKENS_PER_MESSAGE = 4;

export function estimatedPromptTokens({ prompt }: GenerateRequest | ScoreRequest): number {
  switch (prompt.case) {
    case "text":
      return Math.ceil(prompt.value.length / CHARS_PER_TOKEN);
    case "tokens":
      return prompt.value.ids.length;
    case "chat": {
      let tokens = 0;
      for (const { content } of prompt.value.messages) {
        tokens += TOKENS_PER_MESSAGE + content.length / CHARS_PER_TOKEN;
      }
      return Math.ceil(tokens);
    }
    case undefined:
      return 0;
  }
}

export function embedTokens({ inputs }: EmbedRequest): number {
  return inputs.reduce((sum, input) => sum + Math.ceil(input.length / CHARS_PER_TOKEN), 0);
}
