// How tools, calls and their results are put to a model. A template that knows tools gets them in
// the form that templates share (Source: Hugging Face transformers, "tool use" in chat templates);
// for any other they are described in words, in the format that the parser of calls reads.
import type { ToolCall, ToolSpec } from "../../../runtime/tools/tool-spec.ts";
import type { ChatMessage } from "../engine.ts";

export interface PlainMessage {
  readonly role: string;
  readonly content: string;
}

/** Which form of a call's arguments a template takes; null when it doesn't know tools at all. */
export type ToolSupport = "object" | "text" | null;

type Render = (items: Readonly<Record<string, unknown>>) => string;

const instructions =
  "You can call tools. To call one, answer with nothing but one JSON object:\n" +
  '{"name": NAME, "arguments": {...}}\n' +
  "These are the tools, each with the JSON schema of its arguments:";

/** Messages without tools, calls and results as messages of their own: all of it in words. */
export function inWords(
  messages: readonly ChatMessage[],
  tools: readonly ToolSpec[],
): PlainMessage[] {
  const plain: PlainMessage[] = [];
  const names = callNames(messages);
  let answering = false;
  for (const { role, content, toolCalls = [], toolCallId = "" } of messages) {
    const last = plain.at(-1);
    if (role === "tool") {
      const result = `Result of ${names.get(toolCallId) ?? "the tool"}:\n${content}`;
      // Results of calls made together are one turn, because many templates want turns to change.
      if (answering) plain[plain.length - 1] = joined(last!, result);
      else plain.push({ role: "user", content: result });
    } else {
      const calls = toolCalls.map(callText);
      plain.push({ role, content: [content, ...calls].filter((part) => part !== "").join("\n") });
    }
    answering = role === "tool";
  }
  if (tools.length === 0) return plain;
  const told = [instructions, ...tools.map((tool) => JSON.stringify(tool))].join("\n");
  const [first, ...rest] = plain;
  if (first?.role === "system") return [joined(first, told), ...rest];
  return [{ role: "system", content: told }, ...plain];
}

/** Messages in the form that templates with tools share. */
export function inTemplateForm(messages: readonly ChatMessage[], support: "object" | "text") {
  const names = callNames(messages);
  return messages.map(({ role, content, toolCalls = [], toolCallId }) => ({
    role,
    content,
    ...(toolCalls.length > 0 && {
      tool_calls: toolCalls.map(({ id, name, arguments: text }) => ({
        id,
        type: "function",
        function: { name, arguments: support === "object" ? (objectOf(text) ?? text) : text },
      })),
    }),
    ...(toolCallId !== undefined && {
      tool_call_id: toolCallId,
      name: names.get(toolCallId) ?? "",
    }),
  }));
}

/** Tools as templates take them. */
export function toolsForTemplate(tools: readonly ToolSpec[]) {
  return tools.map((tool) => ({ type: "function", function: tool }));
}

const probe = {
  tool: { name: "probe_tool", description: "", parameters: { type: "object", properties: {} } },
  call: { id: "call00000", name: "probe_call", arguments: '{"probe_argument":1}' },
  result: "probe_result",
} as const;

/** Finds out by trying: a template that says all of the probe knows tools. */
export function toolSupport(render: Render): ToolSupport {
  const messages: readonly ChatMessage[] = [
    { role: "user", content: "probe" },
    { role: "assistant", content: "", toolCalls: [probe.call] },
    { role: "tool", content: probe.result, toolCallId: probe.call.id },
  ];
  const said = [probe.tool.name, probe.call.name, '"probe_argument"', probe.result];
  for (const support of ["object", "text"] as const) {
    try {
      const text = render({
        messages: inTemplateForm(messages, support),
        tools: toolsForTemplate([probe.tool]),
      });
      if (said.every((part) => text.includes(part))) return support;
    } catch {
      // It refuses what it doesn't know.
    }
  }
  return null;
}

function joined({ role, content }: PlainMessage, more: string): PlainMessage {
  return { role, content: `${content}\n\n${more}` };
}

/** The call as the model is to write it. */
function callText({ name, arguments: text }: ToolCall): string {
  return `{"name": ${JSON.stringify(name)}, "arguments": ${objectOf(text) ? text : "{}"}}`;
}

function callNames(messages: readonly ChatMessage[]): Map<string, string> {
  return new Map(
    messages.flatMap(({ toolCalls = [] }) => toolCalls.map(({ id, name }) => [id, name] as const)),
  );
}

/** Null when the text isn't the JSON of an object. */
function objectOf(text: string): object | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}
