// What one choice says, told apart into text and tool calls while it comes.
import { FinishReason } from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import { ToolCallParser, type ToolPiece } from "../../tools/tool-call-parser.ts";
import type { ToolPlan } from "./chat-tools.ts";

export interface ChoiceText {
  /** What is certain after this text. */
  push(text: string): readonly ToolPiece[];
  /** What is left when no text follows. */
  end(): readonly ToolPiece[];
  /** OpenAI's word for why it ended. Requires: `end` was called. */
  finishReason(reason: FinishReason): string;
}

const nothing: readonly ToolPiece[] = [];

const plainText: ChoiceText = {
  push: (text) => (text === "" ? nothing : [{ kind: "text", text }]),
  end: () => nothing,
  finishReason: (reason) => (reason === FinishReason.LENGTH ? "length" : "stop"),
};

/** The reader of one choice; where nothing may be called, all of it is text. */
export function createChoiceText(tools: ToolPlan | null): ChoiceText {
  if (tools === null) return plainText;
  const parser = new ToolCallParser(tools.names, tools.callsMax);
  return {
    push: (text) => parser.push(text),
    end: () => parser.end(),
    finishReason(reason) {
      // A call without its end is cut, whatever ended the text: it must not pass for a whole one.
      if (reason === FinishReason.LENGTH || parser.cutShort) return "length";
      return parser.calls > 0 ? "tool_calls" : "stop";
    },
  };
}

/** Names a call for good: the same in each answer to the same request, and in no other. */
export function toolCallId(requestId: string, choice: number, call: number): string {
  return `call_${requestId.replaceAll("-", "")}_${choice}_${call}`;
}
