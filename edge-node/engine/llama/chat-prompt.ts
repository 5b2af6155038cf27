// Renders chat messages with the template that the model carries in its own metadata, so that
// what the model reads is what it was trained on, and nothing a caller writes can pass for one of
// the template's special tokens.
import { createRequire } from "node:module";
import { Fault } from "../../../proto/fault.ts";
import type { ChatMessage } from "../engine.ts";

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
export type RenderChat = (messages: readonly ChatMessage[]) => string[];

const NONCHARACTER_FIRST = 0xfdd0;
const NONCHARACTERS = 32;
const PATTERN_CHARACTER = /[\\^$.*+?()[\]{}|]/g;

export function createChatPrompt(options: ChatPromptOptions): RenderChat {
  const template = options.template === null ? null : compileTemplate(options.template);
  const special = specialPattern(options.specialTexts);
  return (messages) => {
    if (template === null) return [plainPrompt(messages)];
    const border = unusedCharacter(messages);
    // A border inside every special text that a caller wrote: it is then read as plain text.
    const broken = messages.map((message) => ({
      role: message.role,
      content:
        special === null
          ? message.content
          : message.content.replace(special, (text) => text.slice(0, 1) + border + text.slice(1)),
    }));
    return renderForgiving(template, broken, options).split(border);
  };
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
  messages: readonly ChatMessage[],
  options: ChatPromptOptions,
): string {
  try {
    return render(template, messages, options);
  } catch (refusal) {
    const [first, second, ...rest] = messages;
    if (first?.role === "system" && second?.role === "user") {
      const content = `${first.content}\n\n${second.content}`;
      try {
        return render(template, [{ role: "user", content }, ...rest], options);
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

function render(
  template: JinjaTemplate,
  messages: readonly ChatMessage[],
  options: ChatPromptOptions,
): string {
  return template.render({
    messages,
    add_generation_prompt: true,
    bos_token: options.bosText,
    eos_token: options.eosText,
  });
}

function plainPrompt(messages: readonly ChatMessage[]): string {
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

/** A Unicode noncharacter that no message contains. */
function unusedCharacter(messages: readonly ChatMessage[]): string {
  for (let offset = 0; offset < NONCHARACTERS; offset++) {
    const candidate = String.fromCharCode(NONCHARACTER_FIRST + offset);
    if (!messages.some((message) => message.content.includes(candidate))) return candidate;
  }
  throw new Fault("invalid-argument", "messages hold every noncharacter of Unicode", {
    param: "messages",
  });
}
