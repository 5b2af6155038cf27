// Refuses schemas whose grammar would explode. A grammar follows every alternative that still fits
// the text: alternatives that begin alike, inside of others that begin alike, multiply with every
// level, and a few kilobytes of schema could hold up every stream of the engine.
import { Fault } from "../../../proto/fault.ts";

/** Alternatives, counted through references, among which one value is chosen. */
export const ALTERNATIVES_MAX = 256;
/** Ways to read one text that the grammar may have to follow at once. */
export const AMBIGUITY_MAX = 64;

type Schema = Readonly<Record<string, unknown>>;

/** Requires: a schema as readJsonSchema rewrites it, so without dangling references. */
export function checkAmbiguity(root: Schema): void {
  const definitions = (root.$defs ?? {}) as Readonly<Record<string, Schema>>;
  /** The largest ambiguity with which a schema was already looked into. */
  const seen = new Map<Schema, number>();

  function alternatives(schema: Schema, through: readonly string[]): Schema[] {
    if (typeof schema.$ref === "string") {
      const name = schema.$ref.slice("#/$defs/".length);
      if (through.includes(name)) refuse(`refers from "${name}" to itself and nothing else`);
      return alternatives(definitions[name]!, [...through, name]);
    }
    if (!Array.isArray(schema.oneOf)) return [schema];
    const found: Schema[] = [];
    for (const choice of schema.oneOf as Schema[]) {
      found.push(...alternatives(choice, through));
      if (found.length > ALTERNATIVES_MAX) refuse(`has over ${ALTERNATIVES_MAX} alternatives`);
    }
    return found;
  }

  function look(schema: Schema, outer: number, path: ReadonlyMap<Schema, number>): void {
    const choices = alternatives(schema, []);
    const ambiguity = outer * likeness(choices);
    if (ambiguity > AMBIGUITY_MAX) refuse("nests too many alternatives that begin alike");
    for (const choice of choices) {
      const before = path.get(choice);
      if (before !== undefined && ambiguity > before) {
        refuse("nests alternatives that begin alike in themselves");
      }
      if ((seen.get(choice) ?? 0) >= ambiguity) continue;
      seen.set(choice, ambiguity);
      const inner = new Map(path).set(choice, ambiguity);
      for (const part of partsOf(choice)) look(part, ambiguity, inner);
    }
  }

  look(root, 1, new Map());
}

/** How many of the containers among the alternatives begin alike, at most. */
function likeness(choices: readonly Schema[]): number {
  const counts = new Map<string, number>();
  let open = 0;
  for (const choice of choices) {
    const beginning = beginningOf(choice);
    if (beginning === null) continue;
    if (beginning === "object") open++;
    counts.set(beginning, (counts.get(beginning) ?? 0) + 1);
  }
  let most = 1;
  for (const [beginning, count] of counts) {
    // An object that may begin with any key begins like every other.
    const likeAll = beginning.startsWith("object ") ? open : 0;
    most = Math.max(most, count + likeAll);
  }
  return most;
}

/** Null for scalars: they end before anything could nest in them. */
function beginningOf(schema: Schema): string | null {
  if (schema.type === "array") return "array";
  if (schema.type !== "object") return null;
  const first = Object.entries((schema.properties ?? {}) as Record<string, Schema>)[0];
  if (first === undefined) return "object";
  const [name, value] = first;
  // A tag in front tells alternatives apart before anything can nest.
  const tag = Array.isArray(value.enum) ? JSON.stringify(value.enum) : "";
  return `object ${JSON.stringify(name)} ${tag}`;
}

function partsOf(schema: Schema): Schema[] {
  const parts = Object.values((schema.properties ?? {}) as Record<string, Schema>);
  for (const key of ["items", "additionalProperties"] as const) {
    const part = schema[key];
    if (typeof part === "object" && part !== null) parts.push(part as Schema);
  }
  if (Array.isArray(schema.prefixItems)) parts.push(...(schema.prefixItems as Schema[]));
  return parts;
}

function refuse(why: string): never {
  throw new Fault("invalid-argument", `the JSON schema ${why}`, { param: "response_format" });
}
