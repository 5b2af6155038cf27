// The JSON schema that holds a model to calling a tool: a choice among the forms that a call of
// each tool may have, and beside them, where it may also just answer, the form of an answer.
import type { ToolSpec } from "./tool-spec.ts";

type Schema = Readonly<Record<string, unknown>>;

/**
 * Shapes: {"name": NAME, "arguments": what the tool's parameters say}, in this order, as the
 * parser of tool calls reads it. Requires: at least one tool.
 */
export function toolCallSchema(tools: readonly ToolSpec[], answer: Schema | null): Schema {
  const definitions: Record<string, unknown> = {};
  const choices = tools.map(({ name, parameters }, at) => ({
    title: name,
    type: "object",
    properties: { name: { const: name }, arguments: lifted(closed(parameters), at, definitions) },
    required: ["name", "arguments"],
    additionalProperties: false,
  }));
  const whole: readonly Schema[] =
    answer === null ? choices : [...choices, lifted(answer, tools.length, definitions)];
  const schema = whole.length === 1 ? whole[0]! : { anyOf: whole };
  return Object.keys(definitions).length === 0 ? schema : { ...schema, $defs: definitions };
}

/** A tool without parameters takes an empty object, not any. */
function closed(parameters: Schema): Schema {
  const { properties, additionalProperties } = parameters;
  const declared = properties ?? {};
  if (typeof declared !== "object" || declared === null || Object.keys(declared).length > 0) {
    return { type: "object", ...parameters };
  }
  return {
    ...parameters,
    type: "object",
    properties: {},
    additionalProperties: additionalProperties ?? false,
  };
}

/** A schema whose definitions are moved to the root's, under names of its own. */
function lifted(schema: Schema, at: number, definitions: Record<string, unknown>): Schema {
  const { $defs, definitions: older, ...rest } = schema;
  const prefix = `schema${at}_`;
  for (const group of [older, $defs]) {
    if (typeof group !== "object" || group === null) continue;
    for (const [name, definition] of Object.entries(group)) {
      definitions[prefix + name] = renamed(definition, prefix);
    }
  }
  return renamed(rest, prefix) as Schema;
}

/** Requires: a value of bounded depth. */
function renamed(value: unknown, prefix: string): unknown {
  if (Array.isArray(value)) return value.map((item) => renamed(item, prefix));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [
      key,
      key === "$ref" && typeof inner === "string"
        ? inner.replace(/^#\/(?:\$defs|definitions)\//, `#/$defs/${prefix}`)
        : renamed(inner, prefix),
    ]),
  );
}
