// What of JSON schema is accepted, how it is rewritten, and what is refused.
import test from "ava";
import { readJsonSchema } from "../../../../edge-node/engine/llama/json-schema.ts";
import { Fault } from "../../../../proto/fault.ts";

const read = (schema: unknown): unknown => readJsonSchema(JSON.stringify(schema));
const refusal = (schema: unknown): string => {
  try {
    read(schema);
  } catch (problem) {
    if (problem instanceof Fault && problem.code === "invalid-argument") return problem.message;
    throw problem;
  }
  return "accepted";
};

test("anyOf, const, references and open objects are rewritten", (t) => {
  const schema = {
    $defs: { color: { enum: ["red", "blue"] } },
    type: "object",
    properties: {
      color: { $ref: "#/$defs/color" },
      size: { anyOf: [{ const: 1 }, { type: ["number", "null"] }] },
      rest: { type: "object" },
    },
    required: ["color", "size", "rest"],
    additionalProperties: false,
  };
  t.deepEqual(read(schema), {
    type: "object",
    properties: {
      color: { $ref: "#/$defs/color" },
      size: { oneOf: [{ enum: [1] }, { type: ["number", "null"] }] },
      rest: { type: "object", properties: {}, additionalProperties: true },
    },
    additionalProperties: false,
    $defs: { color: { enum: ["red", "blue"] } },
  });
});

test("an optional object or list becomes a choice", (t) => {
  t.deepEqual(read({ type: ["array", "null"], items: { type: "string" } }), {
    oneOf: [{ type: "array", items: { type: "string" } }, { type: "null" }],
  });
});

test("a refusal says in which titled part the problem is", (t) => {
  const fine = { title: "fine", type: "string" };
  const broken = { title: "City", type: "string", pattern: "a+" };
  const properties = { fine, rest: { title: "Rest", type: "object" }, city: broken };
  const schema = { title: "look_up", type: "object", properties };
  t.regex(refusal({ anyOf: [fine, schema] }), /^in "look_up" \/ "City", .*"pattern"/);
  t.regex(refusal({ type: "object", properties: { a: fine, b: { not: {} } } }), /^the JSON schema/);
  t.is(refusal(fine), "accepted");
});

test("what the grammar can't promise is refused by name", (t) => {
  t.regex(refusal({ type: "string", pattern: "a+" }), /pattern/);
  t.regex(refusal({ not: {} }), /not/);
  t.regex(refusal({ $ref: "#/$defs/nowhere" }), /not defined/);
  t.regex(refusal({ $ref: "http://elsewhere" }), /\$ref/);
  t.regex(refusal({ type: "strange" }), /type/);
  t.regex(refusal({ enum: [] }), /enum/);
  t.regex(refusal({ enum: [{}] }), /scalar/);
  t.regex(refusal({ allOf: [{}, {}] }), /allOf/);
  t.regex(refusal({ type: "array", maxItems: 1e9 }), /maxItems/);
  t.regex(refusal({ type: "string", minLength: 5, maxLength: 2 }), /minLength/);
  t.regex(refusal({ type: "object", required: ["a"] }), /required/);
  t.regex(refusal([]), /not a schema/);
  t.regex(refusal(null), /not a schema/);
});

test("depth, size and length have their bounds", (t) => {
  let deep: unknown = { type: "string" };
  for (let level = 0; level < 40; level++) deep = { type: "array", items: deep };
  t.regex(refusal(deep), /deeper/);
  const wide = Object.fromEntries(Array.from({ length: 3000 }, (_, at) => [`p${at}`, {}]));
  t.regex(refusal({ type: "object", properties: wide }), /parts/);
  t.regex(refusal({ type: "string", description: "x".repeat(70_000) }), /too long/);
});

/** Definitions d0, d1 …, each made of the next one. */
const chain = (levels: number, make: (next: unknown) => unknown, last: unknown) =>
  Object.fromEntries(
    Array.from({ length: levels + 1 }, (_, at) => [
      `d${at}`,
      at === levels ? last : make({ $ref: `#/$defs/d${at + 1}` }),
    ]),
  );

test("schemas whose grammar would explode are refused", (t) => {
  const text = { type: "string" };
  const doubled = chain(30, (next) => ({ anyOf: [next, next] }), text);
  t.regex(refusal({ $ref: "#/$defs/d0", $defs: doubled }), /alternatives/);
  const lists = (next: unknown) => ({
    anyOf: [
      { type: "array", items: next },
      { type: "array", items: next, minItems: 1 },
    ],
  });
  t.regex(refusal({ $ref: "#/$defs/d0", $defs: chain(30, lists, text) }), /begin alike/);
  t.is(refusal({ $ref: "#/$defs/d0", $defs: chain(5, lists, text) }), "accepted");
  const loop = { node: lists({ $ref: "#/$defs/node" }) };
  t.regex(refusal({ $ref: "#/$defs/node", $defs: loop }), /in themselves/);
  t.regex(refusal({ $ref: "#/$defs/a", $defs: { a: { $ref: "#/$defs/a" } } }), /itself/);
});

test("recursive schemas are fine while their alternatives begin differently", (t) => {
  const node = (kind: string, next: unknown) => ({
    type: "object",
    properties: { kind: { const: kind }, next },
  });
  const tree = { $ref: "#/$defs/tree" };
  const $defs = {
    tree: {
      anyOf: [node("one", tree), node("many", { type: "array", items: tree }), { type: "null" }],
    },
  };
  t.is(refusal({ ...tree, $defs }), "accepted");
  const pairs = (next: unknown) => ({ type: "object", properties: { left: next, right: next } });
  t.is(refusal({ $ref: "#/$defs/d0", $defs: chain(30, pairs, { type: "null" }) }), "accepted");
});
