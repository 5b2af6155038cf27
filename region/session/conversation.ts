// What a turn of a session asks the model: the conversation that is kept, and what the caller sent.
import type { ChatMessage } from "../../proto/gen/isthmus/v1/inference_pb.ts";

/**
 * The messages of a turn. A caller sends only what is new, and it is put after what is kept; a
 * system message that repeats the kept one is left out. But a caller that keeps the conversation
 * itself may send all of it every time, so that nothing must be doubled:
 *
 * - what was sent begins with all that is kept: it is the whole conversation;
 * - what was sent is the beginning of what is kept, answers included: it is the whole conversation,
 *   and what came after it is to be answered anew;
 * - the turn is resumed after `resumedText` and is already kept, because whoever kept it was lost
 *   before the caller heard of the end: it is asked again as it was.
 */
export function turnMessages(
  kept: readonly ChatMessage[],
  sent: readonly ChatMessage[],
  resumedText: string | null,
): readonly ChatMessage[] {
  if (resumedText !== null && isLastTurn(kept, sent, resumedText)) return kept.slice(0, -1);
  if (beginsWith(sent, kept)) return sent;
  const answered = sent.some(({ role }) => role === "assistant");
  if (answered && beginsWith(kept, sent)) return sent;
  return [...kept, ...withoutRepeatedSystem(kept, sent)];
}

/** Whether `whole` starts with every message of `head`. */
export function beginsWith(whole: readonly ChatMessage[], head: readonly ChatMessage[]): boolean {
  return head.length <= whole.length && head.every((message, at) => isSame(message, whole[at]!));
}

function isLastTurn(
  kept: readonly ChatMessage[],
  sent: readonly ChatMessage[],
  resumedText: string,
): boolean {
  const answer = kept.at(-1);
  if (answer?.role !== "assistant" || !answer.content.startsWith(resumedText)) return false;
  const asked = kept.slice(0, -1);
  const tail = asked.slice(Math.max(0, asked.length - sent.length));
  return tail.length === sent.length && beginsWith(tail, sent);
}

function withoutRepeatedSystem(
  kept: readonly ChatMessage[],
  sent: readonly ChatMessage[],
): readonly ChatMessage[] {
  const [ours, theirs] = [kept[0], sent[0]];
  const repeated = ours?.role === "system" && theirs !== undefined && isSame(ours, theirs);
  return repeated ? sent.slice(1) : sent;
}

/** Callers trim answers and write calls of tools in OpenAI's form: neither is another message. */
function isSame(one: ChatMessage, other: ChatMessage): boolean {
  if (one.role !== other.role || one.toolCallId !== other.toolCallId) return false;
  const callsTools = one.toolCalls !== "" || other.toolCalls !== "";
  if (one.role === "assistant" && callsTools) return true;
  return one.content.trim() === other.content.trim();
}
