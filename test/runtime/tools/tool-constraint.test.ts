// The schema that holds a model to a call, as the grammar compiler of the engine takes it.
import test from "ava";
import { readJsonSchema } from "../../../edge-node/engine/llama/json-schema.ts";
import { toolCallSchema } from "../../../runtime/tools/tool-constraint.ts";
import { readTools } from "../../../runtime/tools/tool-spec.ts";

const tool = (name: string, parameters?: object) => ({
  type: "function",
  function: { name, ...(parameters !== undefined && { parameters }) },
});
const schemaOf = (tools: readonly object[], answer: Record<string, unknown> | null = null) =>
  toolCallSchema(readTools(JSON.stringify(tools), "tools"), answer);
const compiled = (schema: object): unknown => readJsonSchema(JSON.stringify(schema));

const called = (name: string, parameters: object) => ({
  type: "object",
  properties: { name: { enum: [name] }, arguments: parameters },
  additionalProperties: false,
});

test("one tool is its call, several are a choice", (t) => {
  const city = { type: "object", properties: { city: { type: "string" } } };
  const read = { ...city, additionalProperties: false };
  t.deepEqual(compiled(schemaOf([tool("a", city)])), called("a", read));
  t.deepEqual(compiled(schemaOf([tool("a", city), tool("b", city)])), {
    oneOf: [called("a", read), called("b", read)],
  });
});

test("a tool without parameters is called with an empty object", (t) => {
  const nothing = { type: "object", properties: {}, additionalProperties: false };
  for (const parameters of [undefined, {}, { type: "object" }, { properties: {} }]) {
    t.deepEqual(compiled(schemaOf([tool("a", parameters)])), called("a", nothing));
  }
  const anything = { type: "object", additionalProperties: true };
  t.like(compiled(schemaOf([tool("a", anything)])), {
    properties: { arguments: { additionalProperties: true } },
  });
});

test("definitions of two tools don't meet", (t) => {
  const parameters = (kind: string, group: string) => ({
    type: "object",
    properties: { one: { $ref: `#/${group}/it` }, many: { items: { $ref: `#/${group}/it` } } },
    [group]: { it: { type: kind } },
  });
  const schema = schemaOf([
    tool("a", parameters("string", "$defs")),
    tool("b", parameters("integer", "definitions")),
  ]);
  t.like(compiled(schema), {
    $defs: { schema0_it: { type: "string" }, schema1_it: { type: "integer" } },
    oneOf: [
      { properties: { arguments: { properties: { one: { $ref: "#/$defs/schema0_it" } } } } },
      { properties: { arguments: { properties: { one: { $ref: "#/$defs/schema1_it" } } } } },
    ],
  });
});

test("an answer in a schema of its own is one choice more", (t) => {
  const answer = { type: "object", properties: { name: { type: "string" } } };
  t.like(compiled(schemaOf([tool("a")], answer)), {
    oneOf: [
      { properties: { name: { enum: ["a"] } } },
      { properties: { name: { type: "string" } } },
    ],
  });
});

test("what can't be enforced is refused with the tool's name", (t) => {
  const broken = { type: "object", properties: { city: { type: "string", pattern: "a+" } } };
  const refused = t.throws(() => compiled(schemaOf([tool("fine"), tool("broken", broken)])));
  t.regex(refused?.message ?? "", /^in "broken", .*"pattern"/);
});
