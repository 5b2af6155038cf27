// What a model may call, and the calls that it made, in OpenAI's form: how both are read from the
// JSON in which chat prompts carry them, and within which bounds.
import { z } from "zod";
import { Fault } from "../../proto/fault.ts";
import { nestsDeeper } from "./json-depth.ts";

export const toolLimits = {
  toolsMax: 128,
  toolsCharsMax: 128 << 10,
  /** Calls that one message makes. */
  callsMax: 128,
  callsCharsMax: 256 << 10,
  callIdCharsMax: 128,
  descriptionCharsMax: 8192,
  parametersDepthMax: 32,
} as const;

export interface ToolSpec {
  readonly name: string;
  readonly description: string;
  /** JSON schema of the arguments, always of an object. */
  readonly parameters: Readonly<Record<string, unknown>>;
}

export interface ToolCall {
  readonly id: string;
  readonly name: string;
  /** As the model wrote them: JSON, if it wrote them well. */
  readonly arguments: string;
}

export const toolName = z.string().regex(/^[a-zA-Z0-9_-]{1,64}$/);
const optional = <S extends z.ZodType>(schema: S) => schema.nullish();

const parameters = z
  .record(z.string(), z.unknown())
  .refine((schema) => (schema.type ?? "object") === "object", {
    error: "must be the schema of an object",
  })
  .refine((schema) => !nestsDeeper(schema, toolLimits.parametersDepthMax), {
    error: `nests deeper than ${toolLimits.parametersDepthMax} levels`,
  });

const tool = z.strictObject({
  type: z.literal("function", { error: "only tools of the type 'function' are supported" }),
  function: z.strictObject({
    name: toolName,
    description: optional(z.string().max(toolLimits.descriptionCharsMax)),
    parameters: optional(parameters),
    // Whoever is forced to call is always held to the schema.
    strict: optional(z.boolean()),
  }),
});

/** OpenAI's field `tools`; each name once. */
export const toolList = z
  .array(tool)
  .max(toolLimits.toolsMax)
  .superRefine((tools, context) => {
    const names = tools.map(({ function: { name } }) => name);
    const at = names.findIndex((name, index) => names.indexOf(name) !== index);
    if (at < 0) return;
    const path = [at, "function", "name"];
    context.addIssue({ code: "custom", message: "is the name of an earlier tool", path });
  });

/** OpenAI's field `tool_calls` of an assistant's message. */
export const toolCallList = z
  .array(
    z.strictObject({
      id: z.string().min(1).max(toolLimits.callIdCharsMax),
      type: z.literal("function"),
      function: z.object({ name: toolName, arguments: z.string() }),
    }),
  )
  .max(toolLimits.callsMax);

/** Requires: `text` is "" or the JSON of tools. Faults: invalid-argument naming `field`. */
export function readTools(text: string, field: string): ToolSpec[] {
  return parsed(text, field, toolList, toolLimits.toolsCharsMax).map((entry) => ({
    name: entry.function.name,
    description: entry.function.description ?? "",
    parameters: entry.function.parameters ?? { type: "object", properties: {} },
  }));
}

/** Requires: `text` is "" or the JSON of calls. Faults: invalid-argument naming `field`. */
export function readToolCalls(text: string, field: string): ToolCall[] {
  return parsed(text, field, toolCallList, toolLimits.callsCharsMax).map((call) => ({
    id: call.id,
    name: call.function.name,
    arguments: call.function.arguments,
  }));
}

function parsed<T>(text: string, field: string, schema: z.ZodType<T[]>, charsMax: number): T[] {
  if (text === "") return [];
  if (text.length > charsMax) refuse(field, `is longer than ${charsMax} characters`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    refuse(field, "is not JSON");
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const path = (issue?.path ?? []).map((key) =>
    typeof key === "number" ? `[${key}]` : `.${String(key)}`,
  );
  return refuse(`${field}${path.join("")}`, `is wrong: ${issue?.message ?? "not as expected"}`);
}

function refuse(field: string, what: string): never {
  throw new Fault("invalid-argument", `${field} ${what}`, { param: field });
}
