// The tools of a chat request: what the model may or must call, how it is held to that, and what a
// refusal of the engine to hold it means to the caller.
import { z } from "zod";
import { asFault, Fault } from "../../../proto/fault.ts";
import { toolCallSchema } from "../../tools/tool-constraint.ts";
import { readTools, type ToolSpec, toolLimits, toolList, toolName } from "../../tools/tool-spec.ts";
import { RequestError } from "./error-answer.ts";
import { constraintOf, optional, type ResponseFormat, schemaConstraint } from "./request-fields.ts";

export const toolFields = {
  tools: optional(toolList),
  tool_choice: optional(
    z.union(
      [
        z.enum(["none", "auto", "required"]),
        z.strictObject({
          type: z.literal("function"),
          function: z.strictObject({ name: toolName }),
        }),
      ],
      { error: "expected none, auto, required or {type: 'function', function: {name}}" },
    ),
  ),
  parallel_tool_calls: optional(z.boolean()),
} as const;

/** What is done about tools in one request. */
export interface ToolPlan {
  /** The tools offered, as JSON for the prompt. */
  readonly json: string;
  readonly names: ReadonlySet<string>;
  /** Tools whose parameters the constraint holds the model to; empty when it is free. */
  readonly held: readonly string[];
  /** Further calls of one answer are left out. */
  readonly callsMax: number;
}

interface ToolBody extends z.output<z.ZodObject<typeof toolFields>> {
  readonly response_format?: ResponseFormat;
}

/**
 * Null when nothing may be called: the model then isn't told of the tools either. Otherwise with
 * the constraint: of a model that must call, exactly one call; of one that may either call or
 * answer in a given schema, one of both. Free models are only read.
 * Faults: throws a RequestError, or a Fault for a rule that gRPC shares.
 */
export function toolPlan(body: ToolBody): { plan: ToolPlan | null; constraint: object } {
  const { tools, tool_choice: choice, response_format: format } = body;
  const json = tools == null || tools.length === 0 ? "" : JSON.stringify(tools);
  const specs = readTools(json, "tools");
  if (specs.length === 0 && choice != null && choice !== "none" && choice !== "auto") {
    const message = "'tool_choice' is only allowed when 'tools' are specified.";
    throw new RequestError(400, "invalid_value", message, "tool_choice");
  }
  if (specs.length === 0 || choice === "none") {
    return { plan: null, constraint: constraintOf(format) };
  }
  const forced = forcedTools(specs, choice);
  const answer = format?.type === "json_schema" ? format.json_schema.schema : null;
  const held = forced ?? (answer === null ? [] : specs);
  const constraint =
    held.length === 0
      ? constraintOf(format)
      : schemaConstraint(toolCallSchema(held, forced === null ? answer : null));
  const callsMax = body.parallel_tool_calls === false ? 1 : toolLimits.callsMax;
  const names = new Set(specs.map(({ name }) => name));
  return { plan: { json, names, held: held.map(({ name }) => name), callsMax }, constraint };
}

/** The tools one of which must be called; null when none must. */
function forcedTools(
  specs: readonly ToolSpec[],
  choice: ToolBody["tool_choice"],
): readonly ToolSpec[] | null {
  if (choice === "required") return specs;
  if (choice == null || typeof choice === "string") return null;
  const named = specs.find(({ name }) => name === choice.function.name);
  if (named !== undefined) return [named];
  const message = `'tool_choice' names '${choice.function.name}', which is none of the 'tools'.`;
  throw new RequestError(400, "invalid_value", message, "tool_choice.function.name");
}

/** What to tell instead, when an engine can't hold a model to the parameters of these tools. */
export function toolRefusal(thrown: unknown, plan: ToolPlan | null): unknown {
  const fault = asFault(thrown);
  const aboutSchema = /^(?:response_format|constraint)\b/.test(fault.param);
  if (plan === null || plan.held.length === 0 || !aboutSchema) return thrown;
  const tools = plan.held.map((name) => `'${name}'`).join(", ");
  const message = `The parameters of the tools ${tools} can't be enforced: ${fault.message}`;
  return new Fault(fault.code, message, { param: "tools", cause: thrown });
}
