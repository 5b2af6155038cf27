// Telling calls from text in what a model writes, however it arrives.
import test from "ava";
import fc from "fast-check";
import { ToolCallParser, type ToolPiece } from "../../../runtime/tools/tool-call-parser.ts";

const names = new Set(["get_weather", "get_time"]);
const CALLS_MAX = 8;

interface Read {
  readonly text: string;
  readonly calls: readonly (readonly [string, string])[];
  readonly cutShort: boolean;
}

function read(pieces: readonly string[], callsMax = CALLS_MAX): Read {
  const parser = new ToolCallParser(names, callsMax);
  let text = "";
  const calls: [string, string][] = [];
  const take = (told: readonly ToolPiece[]): void => {
    for (const piece of told) {
      if (piece.kind === "text") text += piece.text;
      if (piece.kind === "call") calls[piece.call] = [piece.name, ""];
      if (piece.kind === "arguments") calls[piece.call]![1] += piece.text;
    }
  };
  for (const piece of pieces) take(parser.push(piece));
  take(parser.end());
  if (parser.calls !== calls.length) throw new Error("the count is wrong");
  return { text, calls, cutShort: parser.cutShort };
}

const weather = ["get_weather", '{"city": "Os\\"lo}", "days": [1, {"a": 2}]}'] as const;
const time = ["get_time", "{}"] as const;
const written = ([name, args]: readonly [string, string]) =>
  `{"name": "${name}", "arguments": ${args}}`;

interface Case {
  readonly what: string;
  readonly said: string;
  readonly text?: string;
  readonly calls?: readonly (readonly [string, string])[];
  readonly cutShort?: boolean;
}

const cases: readonly Case[] = [
  { what: "nothing", said: "" },
  { what: "text", said: "It rains <b>in</b> Oslo.", text: "It rains <b>in</b> Oslo." },
  { what: "space alone", said: " \n ", text: " \n " },
  { what: "a call", said: written(weather), calls: [weather] },
  { what: "a call amid space", said: `\n ${written(weather)} \n`, calls: [weather] },
  {
    what: "a call without space",
    said: '{"name":"get_time","arguments":{}}',
    calls: [time],
  },
  {
    what: "a call whose arguments are called parameters",
    said: '{"name": "get_time", "parameters": {}}',
    calls: [time],
  },
  {
    what: "calls on lines",
    said: `${written(weather)}\n${written(time)}`,
    calls: [weather, time],
  },
  {
    what: "a list of calls",
    said: `[${written(weather)}, ${written(time)}]`,
    calls: [weather, time],
  },
  {
    what: "tagged calls after text",
    said:
      `Let me see.\n<tool_call>\n${written(weather)}\n</tool_call>\n` +
      `<tool_call>${written(time)}</tool_call>`,
    text: "Let me see.\n",
    calls: [weather, time],
  },
  {
    what: "text after a call",
    said: `<tool_call>${written(time)}</tool_call> Done: {"name"`,
    text: 'Done: {"name"',
    calls: [time],
  },
  {
    what: "a call in the middle of text",
    said: `So ${written(time)}`,
    text: `So ${written(time)}`,
  },
  {
    what: "a tag around something else",
    said: `<tool_call>no</tool_call> ${written(time)}`,
    text: `<tool_call>no</tool_call> ${written(time)}`,
  },
  {
    what: "a tag that is cut",
    said: "Look: <tool_cal",
    text: "Look: <tool_cal",
  },
  { what: "text that ends as a tag begins", said: "1 <", text: "1 <" },
  { what: "nothing but a tag that begins", said: "</", text: "</" },
  {
    what: "a closing tag that is cut",
    said: `<tool_call>${written(time)}</tool`,
    calls: [time],
  },
  {
    what: "a tool that wasn't offered",
    said: '{"name": "get_money", "arguments": {}}',
    text: '{"name": "get_money", "arguments": {}}',
  },
  { what: "JSON that is no call", said: '{"name": "get_time"}', text: '{"name": "get_time"}' },
  {
    what: "keys in another order",
    said: '{"arguments": {}, "name": "get_time"}',
    text: '{"arguments": {}, "name": "get_time"}',
  },
  {
    what: "arguments that are no object",
    said: '{"name": "get_time", "arguments": 7}',
    text: '{"name": "get_time", "arguments": 7}',
  },
  { what: "a beginning that is cut", said: '{"name": "get_', text: '{"name": "get_' },
  {
    what: "arguments that are cut",
    said: '{"name": "get_time", "arguments": {"a": "b',
    calls: [["get_time", '{"a": "b']],
    cutShort: true,
  },
  { what: "a call before many lines", said: written(time) + "\n".repeat(100), calls: [time] },
  { what: "a call without its last brace", said: written(time).slice(0, -1), calls: [time] },
  {
    what: "a second call that is cut",
    said: `${written(time)}\n{"name": "get`,
    text: '{"name": "get',
    calls: [time],
  },
];

for (const { what, said, text = "", calls = [], cutShort = false } of cases) {
  test(`${what} reads the same in one piece and in single characters`, (t) => {
    t.deepEqual(read([said]), { text, calls, cutShort });
    t.deepEqual(read([...said]), { text, calls, cutShort });
  });
}

test("what comes after the last call allowed is left out", (t) => {
  const said = `${written(weather)}\n${written(time)} and text`;
  t.deepEqual(read([said], 1), { text: "", calls: [weather], cutShort: false });
  t.deepEqual(read([...said], 1), { text: "", calls: [weather], cutShort: false });
});

test("text is told as soon as it is certain", (t) => {
  const parser = new ToolCallParser(names, CALLS_MAX);
  t.deepEqual(parser.push("Hel"), [{ kind: "text", text: "Hel" }]);
  t.deepEqual(parser.push("lo <"), [{ kind: "text", text: "lo " }]);
  t.deepEqual(parser.push("b> "), [{ kind: "text", text: "<b> " }]);
  const calling = new ToolCallParser(names, CALLS_MAX);
  t.deepEqual(calling.push('{"name": "get_time", "arguments": {"a'), [
    { kind: "call", call: 0, name: "get_time" },
    { kind: "arguments", call: 0, text: '{"a' },
  ]);
  t.deepEqual(calling.push('":1'), [{ kind: "arguments", call: 0, text: '":1' }]);
  t.true(calling.cutShort);
  t.deepEqual(calling.push("}}"), [{ kind: "arguments", call: 0, text: "}" }]);
  t.false(calling.cutShort);
});

test("where the text is cut into pieces changes nothing", (t) => {
  const part = fc.constantFrom(
    written(weather),
    written(time),
    "<tool_call>",
    "</tool_call>",
    '{"name": "',
    "get_time",
    '", "arguments": {',
    " ".repeat(20),
    "\n",
    ",",
    "]",
    "[",
    "}",
    '"',
    "\\",
    "<",
    "text",
  );
  const said = fc.array(part, { maxLength: 12 }).map((parts) => parts.join(""));
  const property = fc.property(said, fc.array(fc.nat(40)), fc.integer({ min: 1, max: 3 }), check);
  function check(whole: string, cuts: readonly number[], callsMax: number): void {
    const pieces: string[] = [];
    let at = 0;
    for (const length of cuts) {
      pieces.push(whole.slice(at, at + length));
      at += length;
    }
    pieces.push(whole.slice(at));
    t.deepEqual(read(pieces, callsMax), read([whole], callsMax), whole);
    const { text, calls } = read([whole], callsMax);
    if (calls.length === 0) t.is(text, whole);
  }
  fc.assert(property, { numRuns: 3000, seed: 11 });
});

test("well-formed arguments come out as they were, whatever they hold", (t) => {
  const property = fc.property(
    fc.dictionary(fc.string(), fc.jsonValue()),
    fc.constantFrom(0, 2),
    (value, indent) => {
      const args = JSON.stringify(value, null, indent);
      const { calls, text } = read([...`{"name": "get_time", "arguments": ${args}}`]);
      t.deepEqual(calls, [["get_time", args]]);
      t.is(text, "");
    },
  );
  fc.assert(property, { numRuns: 500, seed: 12 });
});
