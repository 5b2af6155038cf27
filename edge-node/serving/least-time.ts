// The least time that a request can take from its slot to its first token: what one that can't be
// answered before its deadline is refused by, at once. Every guess in it is on the low side.
import type { GenerateRequest } from "../../proto/gen/isthmus/v1/inference_pb.ts";
import { BLOCK_CHARS, promptBlocks } from "../../runtime/prefix/prompt-blocks.ts";

/** No tokenizer gets more out of ordinary text. */
const CHARS_PER_TOKEN_MAX = 8;
/** promptBlocks makes so many characters of one token id. */
const CHARS_PER_ID = 4;

export interface EngineRates {
  /** 0 until measured. */
  readonly prefillTokensPerSecond: number;
  readonly decodeTokensPerSecondPerStream: number;
}

/** `held` are the blocks whose state the engine has. Returns milliseconds. */
export function leastTimeMs(
  request: GenerateRequest,
  rates: EngineRates,
  held: readonly number[],
): number {
  const { prefillTokensPerSecond, decodeTokensPerSecondPerStream } = rates;
  if (prefillTokensPerSecond <= 0 || decodeTokensPerSecondPerStream <= 0) return 0;
  const known = new Set(held);
  const blocks = promptBlocks(request);
  const missing = blocks.findIndex((block) => !known.has(block));
  const reusedChars = (missing < 0 ? blocks.length : missing) * BLOCK_CHARS;
  const tokens = leastTokens(request, reusedChars);
  return (1000 * tokens) / prefillTokensPerSecond + 1000 / decodeTokensPerSecondPerStream;
}

function leastTokens({ prompt }: GenerateRequest, reusedChars: number): number {
  if (prompt.case === "tokens") {
    return Math.max(0, prompt.value.ids.length - reusedChars / CHARS_PER_ID);
  }
  let chars = 0;
  if (prompt.case === "text") chars = prompt.value.length;
  if (prompt.case === "chat") {
    for (const { content } of prompt.value.messages) chars += content.length;
  }
  return Math.max(0, chars - reusedChars) / CHARS_PER_TOKEN_MAX;
}
