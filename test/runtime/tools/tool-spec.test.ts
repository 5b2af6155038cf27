// Tools and calls as JSON: what is taken, and how what is wrong is named.
import test from "ava";
import { readToolCalls, readTools, toolLimits } from "../../../runtime/tools/tool-spec.ts";

const tool = (change: object = {}) => ({ type: "function", function: { name: "a", ...change } });
const call = (change: object = {}) => ({
  id: "c",
  type: "function",
  function: { name: "a", arguments: "" },
  ...change,
});

test("tools and calls are read with their defaults", (t) => {
  t.deepEqual(readTools("", "tools"), []);
  t.deepEqual(readTools(JSON.stringify([tool()]), "tools"), [
    { name: "a", description: "", parameters: { type: "object", properties: {} } },
  ]);
  t.deepEqual(readToolCalls(JSON.stringify([call()]), "calls"), [
    { id: "c", name: "a", arguments: "" },
  ]);
});

test("what is wrong is refused by name", (t) => {
  const deep = JSON.parse(`{"a":${"[".repeat(40)}${"]".repeat(40)}}`) as object;
  const many = Array.from({ length: toolLimits.toolsMax + 1 }, (_, at) => tool({ name: `t${at}` }));
  const tools: readonly (readonly [string, string])[] = [
    ["tools", "{"],
    ["tools", "7"],
    ["tools", " ".repeat(toolLimits.toolsCharsMax + 1)],
    ["tools", JSON.stringify(many)],
    ["tools[0].type", '[{"type":"custom"}]'],
    ["tools[0].function", '[{"type":"function"}]'],
    ["tools[0].function.name", JSON.stringify([tool({ name: "a b" })])],
    ["tools[1].function.name", JSON.stringify([tool(), tool()])],
    ["tools[0].function.parameters", JSON.stringify([tool({ parameters: { type: "string" } })])],
    ["tools[0].function.parameters", JSON.stringify([tool({ parameters: deep })])],
    ["tools[0].function.parameters", JSON.stringify([tool({ parameters: [] })])],
    ["tools[0].function", JSON.stringify([tool({ colour: 1 })])],
  ];
  for (const [param, text] of tools) {
    t.like(
      t.throws(() => readTools(text, "tools")),
      { code: "invalid-argument", param },
      text,
    );
  }
  const calls: readonly (readonly [string, object])[] = [
    ["calls[0].id", call({ id: "" })],
    ["calls[0].type", call({ type: "custom" })],
    ["calls[0].function.name", call({ function: { name: "", arguments: "" } })],
    ["calls[0].function.arguments", call({ function: { name: "a", arguments: {} } })],
  ];
  for (const [param, wrong] of calls) {
    const text = JSON.stringify([wrong]);
    t.like(
      t.throws(() => readToolCalls(text, "calls")),
      { param },
      text,
    );
  }
});
