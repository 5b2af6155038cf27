// How a completion looks on the wire: chat completions and legacy text completions differ in names
// and nesting only. Chunks are put together as text, because they are the hot path.
import type { TokenLogprob } from "../../../proto/gen/isthmus/v1/inference_pb.ts";

export interface CompletionShape {
  readonly idPrefix: string;
  readonly object: string;
  readonly chunkObject: string;
  /** JSON of the choice in the chunk that opens a stream; null when nothing opens it. */
  opening(choice: number): string | null;
  /** JSON of a chunk's choice up to its text; the text as JSON follows. */
  head(choice: number): string;
  /** What follows the text; `logprobs` is JSON. */
  tail(logprobs: string): string;
  /** JSON of the choice in the chunk that ends it. */
  closing(choice: number, finishReason: string): string;
  /** The choice of an answer that isn't streamed. */
  choice(choice: number, text: string, finishReason: string, logprobs: unknown): object;
  /** `offset` is where the first token's text begins in the completion. */
  logprobs(tokens: readonly TokenLogprob[], offset: number): object;
}

export const chatShape: CompletionShape = {
  idPrefix: "chatcmpl-",
  object: "chat.completion",
  chunkObject: "chat.completion.chunk",
  opening: (index) =>
    `{"index":${index},"delta":{"role":"assistant","content":"","refusal":null},` +
    `"logprobs":null,"finish_reason":null}`,
  head: (index) => `{"index":${index},"delta":{"content":`,
  tail: (logprobs) => `},"logprobs":${logprobs},"finish_reason":null}`,
  closing: (index, finishReason) =>
    `{"index":${index},"delta":{},"logprobs":null,"finish_reason":"${finishReason}"}`,
  choice: (index, content, finishReason, logprobs) => ({
    index,
    message: { role: "assistant", content, refusal: null },
    logprobs,
    finish_reason: finishReason,
  }),
  logprobs: (tokens) => ({
    content: tokens.map((token) => ({
      ...tokenEntry(token),
      top_logprobs: token.top.map(tokenEntry),
    })),
    refusal: null,
  }),
};

export const textShape: CompletionShape = {
  idPrefix: "cmpl-",
  object: "text_completion",
  chunkObject: "text_completion",
  opening: () => null,
  head: (index) => `{"index":${index},"text":`,
  tail: (logprobs) => `,"logprobs":${logprobs},"finish_reason":null}`,
  closing: (index, finishReason) =>
    `{"index":${index},"text":"","logprobs":null,"finish_reason":"${finishReason}"}`,
  choice: (index, text, finishReason, logprobs) => ({
    index,
    text,
    logprobs,
    finish_reason: finishReason,
  }),
  logprobs: (tokens, offset) => {
    let at = offset;
    return {
      tokens: tokens.map(({ text }) => text),
      token_logprobs: tokens.map(({ logprob }) => finite(logprob)),
      top_logprobs: tokens.map(({ top }) =>
        Object.fromEntries(top.map(({ text, logprob }) => [text, finite(logprob)])),
      ),
      text_offset: tokens.map(({ text }) => {
        const start = at;
        at += text.length;
        return start;
      }),
    };
  },
};

/** What OpenAI writes for a token of no probability, which JSON can't say. */
const LOGPROB_MIN = -9999;

const finite = (logprob: number): number => (Number.isFinite(logprob) ? logprob : LOGPROB_MIN);

function tokenEntry({ text, logprob }: { readonly text: string; readonly logprob: number }) {
  return { token: text, logprob: finite(logprob), bytes: [...Buffer.from(text, "utf8")] };
}
