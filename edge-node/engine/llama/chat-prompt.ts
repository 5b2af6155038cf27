// Renders chat messages with the template that the model carries in its own metadata, so that
// what the model reads is what it was trained on, and nothing a caller writes can pass for one of
// the template's special tokens.
import { createRequire } from "node:module";
import { Fault } from "../../../proto/fault.ts";
import type { ToolSpec } from "../../../runtime/tools/tool-spec.ts";
import type { ChatMessage } from "../engine.ts";
import {
  inTemplateForm,
  inWords,
  type PlainMessage,
  type ToolSupport,
  toolSupport,
  toolsForTemplate,
} from "./tool-prompt.ts";

interface JinjaTemplate {
  render(items: Record<string, unknown>): string;
}

export interface ChatPromptOptions {
  /** Jinja source; null when the model has none. */
  readonly template: string | null;
  readonly bosText: string;
  readonly eosText: string;
  /** Texts of all special tokens. */
  readonly specialTexts: readonly string[];
}

/** The rendered prompt in parts: no special token may be read across a border between parts. */
export type RenderChat = (
  messages: readonly ChatMessage[],
  tools?: readonly ToolSpec[],
) => string[];

/** What a template is given, before and after the special texts in it are broken. */
interface TemplateInput {
  readonly messages: readonly PlainMessage[];
  readonly tools?: readonly object[];
}

const NONCHARACTER_FIRST = 0xfdd0;
const NONCHARACTERS = 32;
const PATTERN_CHARACTER = /[\\^$.*+?()[\]{}|]/g;

export function createChatPrompt(options: ChatPromptOptions): RenderChat {
  const template = options.template === null ? null : compileTemplate(options.template);
  const special = specialPattern(options.specialTexts);
  const support =
    template === null
      ? null
      : toolSupport((items) => template.render({ ...items, ...constants(options) }));
  const written = (input: TemplateInput): string[] => {
    if (template === null) return [plainPrompt(input.messages)];
    const border = unusedCharacter(input);
    const broken =
      special === null ? input : (withBorders(input, special, border) as TemplateInput);
    return renderForgiving(template, broken, options).split(border);
  };
  return (messages, tools = []) => {
    const plain: TemplateInput = { messages: inWords(messages, tools) };
    if (support === null || !usesTools(messages, tools)) return written(plain);
    try {
      return written(templateInput(messages, tools, support));
    } catch {
      // Templates have rules of their own for calls and results; words fit into all.
      return written(plain);
    }
  };
}

function usesTools(messages: readonly ChatMessage[], tools: readonly ToolSpec[]): boolean {
  if (tools.length > 0) return true;
  return messages.some(({ role, toolCalls }) => role === "tool" || toolCalls !== undefined);
}

function templateInput(
  messages: readonly ChatMessage[],
  tools: readonly ToolSpec[],
  support: NonNullable<ToolSupport>,
): TemplateInput {
  const formed = inTemplateForm(messages, support);
  return tools.length === 0
    ? { messages: formed }
    : { messages: formed, tools: toolsForTemplate(tools) };
}

/** A border inside every special text that a caller wrote: it is then read as plain text. */
function withBorders(value: unknown, special: RegExp, border: string): unknown {
  const broken = (text: string): string =>
    text.replace(special, (found) => found.slice(0, 1) + border + found.slice(1));
  if (typeof value === "string") return broken(value);
  if (Array.isArray(value)) return value.map((item) => withBorders(item, special, border));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [broken(key), withBorders(item, special, border)]),
  );
}

function compileTemplate(source: string): JinjaTemplate {
  // The template engine is node-llama-cpp's own dependency: found from there, not from here.
  const require = createRequire(import.meta.resolve("node-llama-cpp"));
  const jinja = require("@huggingface/jinja") as {
    Template: new (source: string) => JinjaTemplate;
  };
  return new jinja.Template(source);
}

/** Many templates refuse a system message: it then goes at the head of the first user message. */
function renderForgiving(
  template: JinjaTemplate,
  input: TemplateInput,
  options: ChatPromptOptions,
): string {
  try {
    return render(template, input, options);
  } catch (refusal) {
    const [first, second, ...rest] = input.messages;
    if (first?.role === "system" && second?.role === "user") {
      const content = `${first.content}\n\n${second.content}`;
      try {
        const messages = [{ role: "user", content }, ...rest];
        return render(template, { ...input, messages }, options);
      } catch {
        // The first refusal says more.
      }
    }
    const why = refusal instanceof Error ? refusal.message : String(refusal);
    throw new Fault("invalid-argument", `the model's chat template refuses the messages: ${why}`, {
      param: "messages",
    });
  }
}

function render(template: JinjaTemplate, input: TemplateInput, options: ChatPromptOptions): string {
  return template.render({ ...input, ...constants(options) });
}

function constants({ bosText, eosText }: ChatPromptOptions) {
  return { add_generation_prompt: true, bos_token: bosText, eos_token: eosText };
}

function plainPrompt(messages: readonly PlainMessage[]): string {
  const lines = messages.map((message) => `${message.role}: ${message.content}\n`);
  return `${lines.join("")}assistant:`;
}

function specialPattern(texts: readonly string[]): RegExp | null {
  const usable = texts.filter((text) => text.length > 1);
  if (usable.length === 0) return null;
  const longestFirst = usable.toSorted((left, right) => right.length - left.length);
  const literal = longestFirst.map((text) => text.replace(PATTERN_CHARACTER, "\\$&"));
  return new RegExp(literal.join("|"), "g");
}

/** A Unicode noncharacter that no part of the input contains. */
function unusedCharacter(input: TemplateInput): string {
  const text = JSON.stringify(input);
  for (let offset = 0; offset < NONCHARACTERS; offset++) {
    const candidate = String.fromCharCode(NONCHARACTER_FIRST + offset);
    if (!text.includes(candidate)) return candidate;
  }
  throw new Fault("invalid-argument", "messages hold every noncharacter of Unicode", {
    param: "messages",
  });
}
