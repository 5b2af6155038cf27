// The messages of a chat request: who said what, which tools were called and what they said.
import { z } from "zod";
import { toolCallList, toolLimits } from "../../tools/tool-spec.ts";
import { limits } from "../request-rules.ts";
import { isEmpty, optional, unsupported } from "./request-fields.ts";

const PARTS_MAX = 256;

const textPart = z.strictObject({ type: z.literal("text"), text: z.string() });

/** A text, or parts that are all text. */
const content = z.unknown().transform((value, context): string => {
  if (typeof value === "string") return value.toWellFormed();
  const refuse = (message: string, path: PropertyKey[] = [], code = "invalid_type") => {
    context.addIssue({ code: "custom", message, path, params: { code } });
    return z.NEVER;
  };
  if (!Array.isArray(value)) return refuse("expected a text or an array of text parts");
  if (value.length > PARTS_MAX) return refuse(`at most ${PARTS_MAX} parts`);
  let whole = "";
  for (const [at, part] of value.entries()) {
    const parsed = textPart.safeParse(part);
    if (!parsed.success) {
      return refuse("only parts {type: 'text', text} are supported", [at], "unsupported_content");
    }
    whole += parsed.data.text;
  }
  return whole.toWellFormed();
});

const named = { name: optional(z.string().max(64)) };

const spoken = z.strictObject({
  role: z.enum(["system", "developer", "user"]),
  content,
  ...named,
});

const assistant = z
  .strictObject({
    role: z.literal("assistant"),
    content: z.union([z.null(), z.undefined(), content]).optional(),
    tool_calls: optional(toolCallList),
    ...named,
    // What comes back with an assistant's message when a caller appends it as it was.
    refusal: unsupported(() => false),
    annotations: unsupported(isEmpty),
    audio: unsupported(() => false),
    function_call: unsupported(() => false, ": use 'tool_calls'"),
    parsed: z.unknown().optional(),
  })
  .superRefine((message, context) => {
    if (message.content != null || (message.tool_calls?.length ?? 0) > 0) return;
    const needs = "an assistant's message needs a content or tool calls";
    context.addIssue({ code: "custom", message: needs, path: ["content"] });
  });

const toolResult = z.strictObject({
  role: z.literal("tool"),
  content,
  tool_call_id: z.string().min(1).max(toolLimits.callIdCharsMax),
  ...named,
});

export const chatMessages = z
  .array(
    z.discriminatedUnion("role", [spoken, assistant, toolResult], {
      error: "expected one of the roles system, developer, user, assistant, tool",
    }),
  )
  .min(1)
  .max(limits.messagesMax);

/** Fields of the wire's ChatMessage. */
export function wireMessages(messages: z.output<typeof chatMessages>) {
  return messages.map((message) => {
    const { role } = message;
    const calls = role === "assistant" ? (message.tool_calls ?? []) : [];
    return {
      role: role === "developer" ? "system" : role,
      content: message.content ?? "",
      toolCalls: calls.length === 0 ? "" : JSON.stringify(calls),
      toolCallId: role === "tool" ? message.tool_call_id : "",
    };
  });
}
