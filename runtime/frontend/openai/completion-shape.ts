// How a completion looks on the wire: chat completions and legacy text completions differ in names
// and nesting only. Chunks are put together as text, because they are the hot path.
import type { TokenLogprob } from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import type { ToolCall } from "../../tools/tool-spec.ts";

/** The beginning of a tool call; `call` counts from 0. */
export interface ToolCallHead {
  readonly call: number;
  readonly id: string;
  readonly name: string;
}

/** All that a finished choice says. */
export interface SaidChoice {
  readonly text: string;
  readonly calls: readonly ToolCall[];
  readonly finishReason: string;
  readonly logprobs: unknown;
}

export interface CompletionShape {
  readonly idPrefix: string;
  readonly object: string;
  readonly chunkObject: string;
  /**
   * JSON of the choice in the chunk that opens a stream; null when nothing opens it. `content` is
   * JSON: "" for an answer in text, null for one that may be nothing but tool calls.
   */
  opening(choice: number, content: string): string | null;
  /** JSON of a chunk's choice up to its text; the text as JSON follows. */
  head(choice: number): string;
  /** What follows the text; `logprobs` is JSON. */
  tail(logprobs: string): string;
  /** JSON of the choice in the chunk that ends it. */
  closing(choice: number, finishReason: string): string;
  /** JSON of the choice in the chunk that begins a tool call. */
  call(choice: number, call: ToolCallHead): string;
  /** JSON of such a chunk's choice up to a piece of the call's arguments, which follow as JSON. */
  argumentsHead(choice: number, call: number): string;
  argumentsTail: string;
  /** The choice of an answer that isn't streamed. */
  choice(choice: number, said: SaidChoice): object;
  /** `offset` is where the first token's text begins in the completion. */
  logprobs(tokens: readonly TokenLogprob[], offset: number): object;
}

export const chatShape: CompletionShape = {
  idPrefix: "chatcmpl-",
  object: "chat.completion",
  chunkObject: "chat.completion.chunk",
  opening: (index, content) =>
    `{"index":${index},"delta":{"role":"assistant","content":${content},"refusal":null},` +
    `"logprobs":null,"finish_reason":null}`,
  head: (index) => `{"index":${index},"delta":{"content":`,
  tail: (logprobs) => `},"logprobs":${logprobs},"finish_reason":null}`,
  closing: (index, finishReason) =>
    `{"index":${index},"delta":{},"logprobs":null,"finish_reason":"${finishReason}"}`,
  call: (index, { call, id, name }) =>
    `{"index":${index},"delta":{"tool_calls":[{"index":${call},"id":"${id}","type":"function",` +
    `"function":{"name":"${name}","arguments":""}}]},"logprobs":null,"finish_reason":null}`,
  argumentsHead: (index, call) =>
    `{"index":${index},"delta":{"tool_calls":[{"index":${call},"function":{"arguments":`,
  argumentsTail: `}}]},"logprobs":null,"finish_reason":null}`,
  choice: (index, { text, calls, finishReason, logprobs }) => ({
    index,
    message: {
      role: "assistant",
      content: text === "" && calls.length > 0 ? null : text,
      refusal: null,
      ...(calls.length > 0 && { tool_calls: calls.map(callBody) }),
    },
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
  call: noCalls,
  argumentsHead: noCalls,
  argumentsTail: "",
  choice: (index, { text, finishReason, logprobs }) => ({
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

function callBody({ id, name, arguments: text }: ToolCall) {
  return { id, type: "function", function: { name, arguments: text } };
}

function noCalls(): never {
  throw new TypeError("only chat completions call tools");
}

/** What OpenAI writes for a token of no probability, which JSON can't say. */
const LOGPROB_MIN = -9999;

const finite = (logprob: number): number => (Number.isFinite(logprob) ? logprob : LOGPROB_MIN);

function tokenEntry({ text, logprob }: { readonly text: string; readonly logprob: number }) {
  return { token: text, logprob: finite(logprob), bytes: [...Buffer.from(text, "utf8")] };
}
