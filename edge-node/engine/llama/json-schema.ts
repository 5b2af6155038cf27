// Turns a caller's JSON schema into the subset that node-llama-cpp compiles to a grammar. What
// that subset can't promise is refused, except numeric ranges, `uniqueItems` and most `format`s,
// which don't limit the grammar. Every declared property is required, in the order declared.
import type { GbnfJsonSchema } from "node-llama-cpp";
import { Fault } from "../../../proto/fault.ts";
import { GRAMMAR_LENGTH_MAX } from "../job-limits.ts";
import { checkAmbiguity } from "./schema-ambiguity.ts";

export const SCHEMA_DEPTH_MAX = 32;
export const SCHEMA_NODES_MAX = 2048;
/** Repetition counts are spelled out in the grammar, so they cost memory each. */
export const SCHEMA_REPEAT_MAX = 512;
const TITLES_TOLD_MAX = 4;
const TITLE_CHARS_MAX = 64;

type Json = Readonly<Record<string, unknown>>;
type Schema = Readonly<Record<string, unknown>>;

const REFUSED = [
  "pattern",
  "patternProperties",
  "propertyNames",
  "not",
  "if",
  "contains",
  "dependentRequired",
  "dependentSchemas",
  "dependencies",
  "unevaluatedProperties",
  "unevaluatedItems",
  "$dynamicRef",
] as const;
const GRAMMAR_FORMATS = new Set(["date-time", "date", "time"]);
const SCALARS = ["string", "number", "integer", "boolean", "null"];
const ANY_OBJECT: Schema = { type: "object", additionalProperties: true };
const ANY_VALUE: Schema = {
  oneOf: [{ type: ["string", "number", "boolean", "null"] }, ANY_OBJECT, { type: "array" }],
};

/** Faults: invalid-argument saying which part isn't supported. */
export function readJsonSchema(text: string): GbnfJsonSchema {
  if (text.length > GRAMMAR_LENGTH_MAX) refuse("is too long");
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    refuse("is not JSON");
  }
  const reader = new SchemaReader();
  let schema: Schema;
  try {
    schema = reader.read(value);
  } catch (thrown) {
    throw placed(thrown, reader.place);
  }
  checkAmbiguity(schema);
  return schema as unknown as GbnfJsonSchema;
}

/** Says in which titled part the problem is. */
function placed(thrown: unknown, place: string): unknown {
  if (!(thrown instanceof Fault) || place === "") return thrown;
  return new Fault(thrown.code, `in ${place}, ${thrown.message}`, { param: thrown.param });
}

class SchemaReader {
  #nodes = 0;
  /** Titles of the schemas around the one being read, so that a refusal says where it is. */
  readonly #titles: string[] = [];

  read(root: unknown): Schema {
    const definitions = new Map<string, Schema>();
    if (isObject(root)) {
      for (const key of ["$defs", "definitions"] as const) {
        const group = root[key];
        if (group === undefined) continue;
        if (!isObject(group)) refuse(`has a ${key} that is not an object`);
        for (const [name, schema] of Object.entries(group)) {
          definitions.set(name, this.#schema(schema, 1));
        }
      }
    }
    this.#checkReferences(root, new Set(definitions.keys()), 0);
    const schema = this.#schema(root, 0);
    if (definitions.size === 0) return schema;
    return { ...schema, $defs: Object.fromEntries(definitions) };
  }

  #schema(value: unknown, depth: number): Schema {
    const titled = isObject(value) && typeof value.title === "string";
    if (!titled) return this.#untitled(value, depth);
    this.#titles.push(value.title as string);
    const schema = this.#untitled(value, depth);
    this.#titles.pop();
    return schema;
  }

  /** The titles around what is refused. Requires: `read` has thrown. */
  get place(): string {
    return this.#titles
      .slice(0, TITLES_TOLD_MAX)
      .map((title) => JSON.stringify(title.slice(0, TITLE_CHARS_MAX)))
      .join(" / ");
  }

  #untitled(value: unknown, depth: number): Schema {
    this.#nodes++;
    if (depth > SCHEMA_DEPTH_MAX) refuse(`is nested deeper than ${SCHEMA_DEPTH_MAX}`);
    if (this.#nodes > SCHEMA_NODES_MAX) refuse(`has more than ${SCHEMA_NODES_MAX} parts`);
    if (value === true) return ANY_VALUE;
    if (!isObject(value)) refuse("has a part that is not a schema");
    for (const keyword of REFUSED) {
      if (Object.hasOwn(value, keyword)) refuse(`uses "${keyword}", which is not supported`);
    }
    if (typeof value.$ref === "string") return { $ref: definitionPath(value.$ref) };
    const choices = value.anyOf ?? value.oneOf;
    if (choices !== undefined) return this.#choice(choices, depth);
    if (value.allOf !== undefined) return this.#single(value.allOf, depth);
    if (Object.hasOwn(value, "const")) return this.#literals([value.const]);
    if (value.enum !== undefined) return this.#literals(list(value.enum, "enum"));
    return this.#typed(value, depth);
  }

  #choice(value: unknown, depth: number): Schema {
    const choices = list(value, "anyOf");
    if (choices.length === 0) refuse('has an empty "anyOf"');
    return { oneOf: choices.map((choice) => this.#schema(choice, depth + 1)) };
  }

  #single(value: unknown, depth: number): Schema {
    const parts = list(value, "allOf");
    if (parts.length !== 1) refuse('uses "allOf" with more than one part, which is not supported');
    return this.#schema(parts[0], depth + 1);
  }

  #literals(values: readonly unknown[]): Schema {
    if (values.length === 0) refuse('has an empty "enum"');
    this.#nodes += values.length;
    if (this.#nodes > SCHEMA_NODES_MAX) refuse(`has more than ${SCHEMA_NODES_MAX} parts`);
    for (const value of values) {
      if (value !== null && !["string", "number", "boolean"].includes(typeof value)) {
        refuse('has an "enum" or "const" that is not a scalar');
      }
    }
    return { enum: values };
  }

  #typed(value: Json, depth: number): Schema {
    const type = value.type ?? impliedType(value);
    if (type === undefined) return ANY_VALUE;
    if (Array.isArray(type)) {
      const scalars = type.filter((name) => SCALARS.includes(name));
      if (scalars.length === type.length && type.length > 0) return { type: scalars };
      return { oneOf: type.map((name) => this.#typed({ ...value, type: name }, depth + 1)) };
    }
    if (type === "object") return this.#object(value, depth);
    if (type === "array") return this.#array(value, depth);
    if (type === "string") return stringSchema(value);
    if (typeof type === "string" && SCALARS.includes(type)) return { type };
    return refuse('has a "type" that is not known');
  }

  #object(value: Json, depth: number): Schema {
    const properties = value.properties ?? {};
    if (!isObject(properties)) refuse('has "properties" that are not an object');
    const read = Object.entries(properties).map(([name, schema]) => [
      name,
      this.#schema(schema, depth + 1),
    ]);
    const declared = Object.fromEntries(read) as Record<string, Schema>;
    for (const name of list(value.required ?? [], "required")) {
      if (typeof name !== "string" || !Object.hasOwn(declared, name)) {
        refuse('has "required" names that "properties" does not declare');
      }
    }
    const rest = value.additionalProperties ?? read.length === 0;
    return {
      type: "object",
      properties: declared,
      additionalProperties: rest === false ? false : this.#rest(rest, depth),
      ...bounds(value, "minProperties", "maxProperties"),
    };
  }

  #rest(value: unknown, depth: number): Schema | true {
    return value === true ? true : this.#schema(value, depth + 1);
  }

  #array(value: Json, depth: number): Schema {
    const prefix = value.prefixItems;
    return {
      type: "array",
      ...(value.items === undefined ? {} : { items: this.#schema(value.items, depth + 1) }),
      ...(prefix === undefined
        ? {}
        : {
            prefixItems: list(prefix, "prefixItems").map((item) => this.#schema(item, depth + 1)),
          }),
      ...bounds(value, "minItems", "maxItems"),
    };
  }

  #checkReferences(value: unknown, names: ReadonlySet<string>, depth: number): void {
    if (depth > 2 * SCHEMA_DEPTH_MAX || value === null || typeof value !== "object") return;
    for (const [key, part] of Object.entries(value)) {
      if (key === "$ref" && typeof part === "string") {
        const name = definitionPath(part).slice("#/$defs/".length);
        if (!names.has(name)) refuse(`refers to ${JSON.stringify(part)}, which is not defined`);
      }
      this.#checkReferences(part, names, depth + 1);
    }
  }
}

function stringSchema(value: Json): Schema {
  const format = value.format;
  if (typeof format === "string" && GRAMMAR_FORMATS.has(format)) return { type: "string", format };
  return { type: "string", ...bounds(value, "minLength", "maxLength") };
}

function bounds(value: Json, minKey: string, maxKey: string): Schema {
  const read: Record<string, number> = {};
  for (const key of [minKey, maxKey]) {
    const bound = value[key];
    if (bound === undefined) continue;
    if (typeof bound !== "number" || !Number.isInteger(bound) || bound < 0) {
      refuse(`has a "${key}" that is not a whole number`);
    }
    if (bound > SCHEMA_REPEAT_MAX) refuse(`has a "${key}" above ${SCHEMA_REPEAT_MAX}`);
    read[key] = bound;
  }
  const [min, max] = [read[minKey], read[maxKey]];
  if (min !== undefined && max !== undefined && min > max) refuse(`has "${minKey}" > "${maxKey}"`);
  return read;
}

function impliedType(value: Json): string | undefined {
  if (value.properties !== undefined || value.additionalProperties !== undefined) return "object";
  if (value.items !== undefined || value.prefixItems !== undefined) return "array";
  return undefined;
}

function definitionPath(reference: string): string {
  const match = /^#\/(?:\$defs|definitions)\/([^/]+)$/.exec(reference);
  if (match === null) refuse(`has a "$ref" that is not of the form #/$defs/NAME`);
  return `#/$defs/${match[1]}`;
}

function list(value: unknown, keyword: string): readonly unknown[] {
  if (!Array.isArray(value)) refuse(`has a "${keyword}" that is not a list`);
  return value as readonly unknown[];
}

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function refuse(why: string): never {
  throw new Fault("invalid-argument", `the JSON schema ${why}`, { param: "response_format" });
}
