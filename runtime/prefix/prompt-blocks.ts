// A prompt cut into blocks, each named by a hash of everything up to its end, so that two prompts
// share as many names as they share whole blocks from the start. The text itself is not kept.
import type { GenerateRequest } from "../../proto/gen/isthmus/v1/inference_pb.ts";

export const BLOCK_CHARS = 256;
/** Of longer prompts only the head counts. */
const BLOCKS_MAX = 128;
/** FNV-1a, 32 bits: a collision costs a wrong estimate, nothing else. */
const OFFSET = 0x811c9dc5;
const PRIME = 0x01000193;

/** Hashes of the prompt's whole blocks, first to last. */
export function promptBlocks(request: GenerateRequest): readonly number[] {
  const blocks: number[] = [];
  let hash = OFFSET;
  let chars = 0;
  const take = (text: string): void => {
    for (let k = 0; k < text.length && blocks.length < BLOCKS_MAX; k += 1) {
      hash = Math.imul(hash ^ text.charCodeAt(k), PRIME);
      chars += 1;
      if (chars % BLOCK_CHARS === 0) blocks.push(hash >>> 0);
    }
  };
  for (const char of request.model) hash = Math.imul(hash ^ char.charCodeAt(0), PRIME);
  const { prompt } = request;
  if (prompt.case === "text") take(prompt.value);
  if (prompt.case === "chat") {
    take(prompt.value.tools);
    for (const { role, content, toolCalls } of prompt.value.messages) {
      take(`\n${role}\n${content}${toolCalls}`);
    }
  }
  if (prompt.case === "tokens") {
    for (const id of prompt.value.ids) take(String.fromCharCode(id & 0xffff, id >>> 16, 0, 0));
  }
  return blocks;
}
