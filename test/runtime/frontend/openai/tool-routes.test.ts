// What only a script can show of tool calls: models that call on their own, streams that are cut
// anywhere or moved, engines that can't hold a model to a schema.
import test from "ava";
import OpenAI from "openai";
import { Fault } from "../../../../proto/fault.ts";
import type { GenerateRequest } from "../../../../proto/gen/isthmus/v1/inference_pb.ts";
import { startFrontends } from "../../../support/frontend-servers.ts";
import {
  createScriptedBackend,
  type ScriptedCall,
  scriptedModel,
} from "../../../support/scripted-backend.ts";

const tools: OpenAI.ChatCompletionFunctionTool[] = [
  {
    type: "function",
    function: {
      name: "look",
      parameters: { type: "object", properties: { at: { type: "string" } } },
    },
  },
  { type: "function", function: { name: "wait" } },
];
const chat = {
  model: scriptedModel,
  messages: [{ role: "user" as const, content: "hello" }],
  tools,
};

async function scripted() {
  const script = createScriptedBackend();
  const servers = await startFrontends(script);
  const client = new OpenAI({ baseURL: `${servers.http}/v1`, apiKey: "none", maxRetries: 0 });
  return { script, servers, client };
}

function say(call: ScriptedCall, ...texts: readonly string[]): void {
  call.started();
  for (const text of texts) call.tokens(text);
  call.finish();
}

type Message = OpenAI.ChatCompletionMessage;

/** What a message says, without the ids. */
const saidBy = ({ content, tool_calls }: Message) => ({
  content,
  calls: (tool_calls ?? []).map((call) =>
    call.type === "function" ? [call.function.name, call.function.arguments] : call.type,
  ),
});

const look = '{"name": "look", "arguments": {"at": "the sea"}}';
const lookCall = ["look", '{"at": "the sea"}'];
const waitCall = ["wait", "{}"];

const answers: readonly (readonly [string, readonly string[], string, object])[] = [
  ["a call", [look], "tool_calls", { content: null, calls: [lookCall] }],
  ["a call by characters", [...look], "tool_calls", { content: null, calls: [lookCall] }],
  ["text", ["I see ", "the sea"], "stop", { content: "I see the sea", calls: [] }],
  ["JSON", ['{"name": ', '"sea"}'], "stop", { content: '{"name": "sea"}', calls: [] }],
  [
    "text, then calls",
    [
      "Well.",
      "<tool_",
      `call>${look}`,
      "</tool_call>",
      '<tool_call>{"name":"wait",',
      '"arguments":{}}',
    ],
    "tool_calls",
    { content: "Well.", calls: [lookCall, waitCall] },
  ],
  [
    "a call without its end",
    ['{"name": "look", "arguments": {"at'],
    "length",
    { content: null, calls: [["look", '{"at']] },
  ],
];

for (const [what, texts, reason, expected] of answers) {
  test(`${what} of a free model reads the same whole and streamed`, async (t) => {
    const { script, servers, client } = await scripted();
    for (const stream of [false, true]) {
      const next = script.nextCall();
      const asked = stream
        ? collected(await streamOf(client, next, texts))
        : client.chat.completions.create(chat).then(({ choices }) => choices[0]!);
      if (!stream) say(await next, ...texts);
      const { message, finish_reason } = await asked;
      t.is(finish_reason, reason as typeof finish_reason);
      t.deepEqual(saidBy(message), expected, `stream: ${stream}`);
      const ids = (message.tool_calls ?? []).map(({ id }) => id);
      t.is(new Set(ids).size, ids.length);
      t.true(ids.every((id) => /^call_[0-9a-f]{32}_0_\d$/.test(id)));
    }
    t.is(script.requests[0]!.constraint, undefined);
    await servers.stop();
  });
}

async function streamOf(client: OpenAI, next: Promise<ScriptedCall>, texts: readonly string[]) {
  const stream = client.chat.completions.create({ ...chat, stream: true });
  say(await next, ...texts);
  return stream;
}

/** Puts chunks together as the protocol says, whatever the package's own helper demands. */
async function collected(stream: AsyncIterable<OpenAI.ChatCompletionChunk>) {
  let content: string | null = null;
  let finishReason: OpenAI.ChatCompletion.Choice["finish_reason"] | null = null;
  const calls: OpenAI.ChatCompletionMessageFunctionToolCall[] = [];
  for await (const { choices } of stream) {
    const { delta, finish_reason } = choices[0]!;
    if (delta.content != null) content = (content ?? "") + delta.content;
    for (const { index, id, function: piece } of delta.tool_calls ?? []) {
      if (id !== undefined) {
        calls[index] = { id, type: "function", function: { name: piece!.name!, arguments: "" } };
      }
      calls[index]!.function.arguments += piece?.arguments ?? "";
    }
    if (finish_reason !== null) finishReason = finish_reason;
  }
  const message: Message = { role: "assistant", content, refusal: null, tool_calls: calls };
  return { message, finish_reason: finishReason! };
}

test("further calls are left out where calls may not be parallel", async (t) => {
  const { script, servers, client } = await scripted();
  const next = script.nextCall();
  const asked = client.chat.completions.create({ ...chat, parallel_tool_calls: false });
  say(await next, look, "\n", look, " done");
  const { message, finish_reason } = (await asked).choices[0]!;
  t.is(finish_reason, "tool_calls");
  t.deepEqual(saidBy(message), { content: null, calls: [lookCall] });
  await servers.stop();
});

test("calls and results reach the engine, tools only where they may be called", async (t) => {
  const { script, servers, client } = await scripted();
  const promptOf = ({ prompt }: GenerateRequest) => {
    if (prompt.case !== "chat") throw new Error("no chat");
    return prompt.value;
  };
  const calls = [
    { id: "c1", type: "function" as const, function: { name: "wait", arguments: "{}" } },
  ];
  const messages = [
    ...chat.messages,
    { role: "assistant" as const, content: null, tool_calls: calls },
    { role: "tool" as const, tool_call_id: "c1", content: [{ type: "text" as const, text: "ok" }] },
  ];
  await client.chat.completions.create({ ...chat, messages });
  await client.chat.completions.create({ ...chat, messages, tool_choice: "none" });
  const [offered, withheld] = script.requests.map(promptOf);
  t.deepEqual(JSON.parse(offered!.tools), tools);
  t.is(withheld!.tools, "");
  for (const prompt of [offered!, withheld!]) {
    const [, assistant, result] = prompt.messages;
    t.like(assistant, { role: "assistant", content: "" });
    t.deepEqual(JSON.parse(assistant!.toolCalls), calls);
    t.like(result, { role: "tool", content: "ok", toolCallId: "c1" });
  }
  await servers.stop();
});

test("a free model that must answer in a schema is held to a call or the schema", async (t) => {
  const { script, servers, client } = await scripted();
  const schema = { type: "object", properties: { sea: { type: "boolean" } } };
  await client.chat.completions.create({
    ...chat,
    response_format: { type: "json_schema", json_schema: { name: "sea", schema } },
  });
  const kind = script.requests[0]!.constraint?.kind;
  if (kind?.case !== "jsonSchema") return t.fail();
  const { anyOf } = JSON.parse(kind.value) as { anyOf: { title?: string }[] };
  t.deepEqual(
    anyOf.map(({ title }) => title),
    ["look", "wait", undefined],
  );
  await servers.stop();
});

for (const stream of [false, true]) {
  test(`a schema that an engine can't hold names the tools, stream: ${stream}`, async (t) => {
    const { script, servers, client } = await scripted();
    const next = script.nextCall();
    const asked = client.chat.completions.create({ ...chat, stream, tool_choice: "required" });
    const refusal = t.throwsAsync(asked);
    const message = 'in "look", the JSON schema uses "pattern", which is not supported';
    (await next).fail(new Fault("invalid-argument", message, { param: "response_format" }));
    const fault = await refusal;
    t.like(fault, { status: 400, code: "invalid_value", param: "tools" });
    t.regex(fault?.message ?? "", /'look', 'wait'.*in "look".*pattern/);
    await servers.stop();
  });
}
