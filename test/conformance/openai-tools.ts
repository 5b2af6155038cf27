// Tool calls and the fields of ours, as stock clients see them. Part of the OpenAI suite.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, jsonSchema, streamText } from "ai";
import type { ExecutionContext, TestFn } from "ava";
import OpenAI from "openai";
import type { ConformanceTarget, GetTarget } from "./conformance-target.ts";

export function openAiToolConformance(test: TestFn, target: GetTarget): void {
  wholeTests(test, target);
  streamedTests(test, target);
  roundTests(test, target);
  refusalTests(test, target);
  aiPackageTests(test, target);
  provenanceTests(test, target);
}

const clientOf = ({ http }: ConformanceTarget): OpenAI =>
  new OpenAI({ baseURL: `${http}/v1`, apiKey: "none", maxRetries: 0 });

const lightParameters = {
  type: "object" as const,
  properties: {
    room: { enum: ["kitchen", "hall"] },
    on: { type: "boolean" as const },
    level: { type: "integer" as const },
  },
  required: ["room", "on", "level"],
  additionalProperties: false,
};

const tools: OpenAI.ChatCompletionFunctionTool[] = [
  {
    type: "function",
    function: { name: "set_light", description: "Sets a light.", parameters: lightParameters },
  },
  { type: "function", function: { name: "all_off" } },
];
const setLight = { type: "function", function: { name: "set_light" } } as const;

/** Room enough for any call, and each token is the likeliest. */
const chatOf = ({ model, prompt }: ConformanceTarget) => ({
  model,
  messages: [{ role: "user" as const, content: prompt }],
  temperature: 0,
  seed: 7,
  max_tokens: 160,
});

type Call = OpenAI.ChatCompletionMessageFunctionToolCall;

/** The one call of a choice, with its arguments read. */
function callOf(t: ExecutionContext, choice: OpenAI.ChatCompletion.Choice | undefined) {
  t.is(choice?.finish_reason, "tool_calls");
  t.is(choice?.message.content, null);
  const calls = (choice?.message.tool_calls ?? []) as Call[];
  t.is(calls.length, 1);
  const [call] = calls;
  t.is(call?.type, "function");
  t.true((call?.id ?? "").length > 0);
  const args = JSON.parse(call?.function.arguments ?? "") as Record<string, unknown>;
  return { id: call?.id ?? "", name: call?.function.name ?? "", args };
}

function checkLight(t: ExecutionContext, name: string, args: Record<string, unknown>): void {
  t.is(name, "set_light");
  t.deepEqual(Object.keys(args), ["room", "on", "level"]);
  t.true(["kitchen", "hall"].includes(String(args.room)));
  t.is(typeof args.on, "boolean");
  t.true(Number.isInteger(args.level));
}

function wholeTests(test: TestFn, target: GetTarget): void {
  test("openai tools: a tool that is named is called with valid arguments", async (t) => {
    const { choices, usage } = await clientOf(target()).chat.completions.create({
      ...chatOf(target()),
      tools,
      tool_choice: setLight,
    });
    const { name, args } = callOf(t, choices[0]);
    checkLight(t, name, args);
    t.true(usage!.completion_tokens > 0);
  });

  test("openai tools: where a call is required, one of the tools is called", async (t) => {
    const { choices } = await clientOf(target()).chat.completions.create({
      ...chatOf(target()),
      tools,
      tool_choice: "required",
      parallel_tool_calls: false,
    });
    const { name, args } = callOf(t, choices[0]);
    if (name === "set_light") checkLight(t, name, args);
    else t.deepEqual([name, args], ["all_off", {}]);
  });

  test("openai tools: a model that needn't call may just answer", async (t) => {
    const client = clientOf(target());
    const body = { ...chatOf(target()), max_tokens: 24 };
    const plain = await client.chat.completions.create(body);
    const none = await client.chat.completions.create({ ...body, tools, tool_choice: "none" });
    t.deepEqual(none.choices[0]?.message, plain.choices[0]?.message);
    const auto = await client.chat.completions.create({ ...body, tools });
    t.true((auto.choices[0]?.message.content ?? "").length > 0);
    t.is(auto.choices[0]?.message.tool_calls, undefined);
  });

  test("openai tools: a call that max_tokens cuts is told as cut", async (t) => {
    const { choices } = await clientOf(target()).chat.completions.create({
      ...chatOf(target()),
      max_tokens: 2,
      tools,
      tool_choice: setLight,
    });
    t.is(choices[0]?.finish_reason, "length");
  });
}

function streamedTests(test: TestFn, target: GetTarget): void {
  test("openai tools: a streamed call is the call of the whole answer, in pieces", async (t) => {
    const client = clientOf(target());
    const body = { ...chatOf(target()), tools, tool_choice: setLight };
    const whole = callOf(t, (await client.chat.completions.create(body)).choices[0]);
    let args = "";
    let pieces = 0;
    const heads: unknown[] = [];
    const reasons: unknown[] = [];
    const stream = await client.chat.completions.create({ ...body, stream: true });
    for await (const { choices } of stream) {
      t.falsy(choices[0]?.delta.content);
      if (choices[0]?.finish_reason != null) reasons.push(choices[0].finish_reason);
      for (const { index, id, type, function: piece } of choices[0]?.delta.tool_calls ?? []) {
        t.is(index, 0);
        if (id !== undefined) heads.push({ type, name: piece?.name, length: id.length > 0 });
        args += piece?.arguments ?? "";
        pieces++;
      }
    }
    t.deepEqual(heads, [{ type: "function", name: "set_light", length: true }]);
    t.deepEqual(reasons, ["tool_calls"]);
    t.deepEqual(JSON.parse(args), whole.args);
    t.true(pieces > 2);
  });

  test("openai tools: the package's own stream helper puts calls together", async (t) => {
    const completion = await clientOf(target())
      .chat.completions.stream({ ...chatOf(target()), tools, tool_choice: setLight })
      .finalChatCompletion();
    const { name, args } = callOf(t, completion.choices[0]);
    checkLight(t, name, args);
  });

  test("openai tools: each of several streamed choices makes a call of its own", async (t) => {
    const stream = clientOf(target()).chat.completions.stream({
      ...chatOf(target()),
      temperature: 1,
      n: 2,
      tools,
      tool_choice: setLight,
    });
    const { choices } = await stream.finalChatCompletion();
    t.is(choices.length, 2);
    const calls = choices.map((choice) => callOf(t, choice));
    for (const { name, args } of calls) checkLight(t, name, args);
    t.not(calls[0]?.id, calls[1]?.id);
  });
}

function roundTests(test: TestFn, target: GetTarget): void {
  test("openai tools: a call and its result can be sent back as they came", async (t) => {
    const client = clientOf(target());
    const body = chatOf(target());
    const forced = { ...body, tools, tool_choice: setLight };
    for (const stream of [false, true]) {
      const { choices } = stream
        ? await client.chat.completions.stream(forced).finalChatCompletion()
        : await client.chat.completions.create(forced);
      const message = choices[0]!.message;
      const call = message.tool_calls?.[0] as Call;
      const result = { role: "tool" as const, tool_call_id: call.id, content: '{"ok":true}' };
      const messages = [...body.messages, message, result];
      const next = await client.chat.completions.create({
        ...body,
        max_tokens: 24,
        messages,
        tools,
      });
      t.true((next.choices[0]?.message.content ?? "").length > 0);
      const again = await client.chat.completions.create({ ...forced, messages });
      checkLight(t, "set_light", callOf(t, again.choices[0]).args);
    }
  });

  test("openai tools: the package's tool runner calls the function", async (t) => {
    const asked: Record<string, unknown>[] = [];
    const runner = clientOf(target()).chat.completions.runTools({
      ...chatOf(target()),
      tool_choice: setLight,
      tools: [
        {
          type: "function",
          function: {
            name: "set_light",
            description: "Sets a light.",
            parameters: lightParameters,
            parse: JSON.parse as (text: string) => Record<string, unknown>,
            function: (args: Record<string, unknown>) => {
              asked.push(args);
              return "done";
            },
          },
        },
      ],
    });
    await runner.done();
    t.is(asked.length, 1);
    checkLight(t, "set_light", asked[0]!);
  });
}

function refusalTests(test: TestFn, target: GetTarget): void {
  const [light] = tools;
  const wrongTools = (change: object) => ({ tools: [{ type: "function", function: change }] });
  const toolMessage = { role: "tool", content: "x" };
  const refusals: readonly (readonly [string, object, string])[] = [
    ["a tool without a function", { tools: [{ type: "function" }] }, "tools[0].function"],
    ["a custom tool", { tools: [{ type: "custom", custom: { name: "a" } }] }, "tools[0].type"],
    ["a name with spaces", wrongTools({ name: "a b" }), "tools[0].function.name"],
    ["two tools of a name", { tools: [light, light] }, "tools[1].function.name"],
    [
      "parameters of no object",
      wrongTools({ name: "a", parameters: { type: "string" } }),
      "tools[0].function.parameters",
    ],
    ["a choice without tools", { tool_choice: "required" }, "tool_choice"],
    ["a choice that doesn't exist", { tools, tool_choice: "any" }, "tool_choice"],
    [
      "a choice that isn't offered",
      { tools, tool_choice: { type: "function", function: { name: "other" } } },
      "tool_choice.function.name",
    ],
    ["a result without its call's id", { messages: [toolMessage] }, "messages[0].tool_call_id"],
    [
      "an assistant who says nothing",
      { messages: [{ role: "assistant", content: null }] },
      "messages[0].content",
    ],
    [
      "calls of a user",
      { messages: [{ role: "user", content: "x", tool_calls: [] }] },
      "messages[0].tool_calls",
    ],
  ];
  for (const [what, change, param] of refusals) {
    test(`openai tools: ${what} is refused by name`, async (t) => {
      const body = { ...chatOf(target()), ...change } as OpenAI.ChatCompletionCreateParams;
      const refused = await t.throwsAsync(clientOf(target()).chat.completions.create(body));
      t.like(refused, { status: 400, type: "invalid_request_error", param });
    });
  }
}

function aiPackageTests(test: TestFn, target: GetTarget): void {
  test("ai package: a required tool is called, whole and streamed alike", async (t) => {
    const { http, model, prompt } = target();
    const provider = createOpenAICompatible({ name: "isthmus", baseURL: `${http}/v1` });
    const request = {
      model: provider.chatModel(model),
      prompt,
      temperature: 0,
      maxOutputTokens: 160,
      maxRetries: 0,
      toolChoice: "required" as const,
      tools: {
        set_light: { description: "Sets a light.", inputSchema: jsonSchema(lightParameters) },
      },
    };
    const whole = await generateText(request);
    const streamed = streamText(request);
    const calls = [...whole.toolCalls, ...(await streamed.toolCalls)];
    t.is(calls.length, 2);
    for (const { toolName, input } of calls) {
      checkLight(t, toolName, input as Record<string, unknown>);
    }
    t.is(whole.finishReason, "tool-calls");
    t.is(await streamed.finishReason, "tool-calls");
  });
}

interface Provenance {
  readonly edge: string;
  readonly region: string;
  readonly version: string;
  readonly moves: readonly unknown[];
  readonly hedges: number;
  readonly hedged_tokens: number;
}

function provenanceTests(test: TestFn, target: GetTarget): void {
  const checkProvenance = (t: ExecutionContext, holder: unknown): void => {
    const { isthmus } = holder as { readonly isthmus: Provenance };
    for (const name of [isthmus.edge, isthmus.region, isthmus.version]) t.true(name.length > 0);
    t.true(Array.isArray(isthmus.moves));
    t.true(isthmus.hedges >= 0 && isthmus.hedged_tokens >= 0);
  };
  /** What every one of our doors takes and this mesh can hold. */
  const ours = { isthmus: { tenant: "conformance", priority: "batch", policy: { hedge: false } } };

  test("openai: each choice says where it was made, whole and streamed", async (t) => {
    const client = clientOf(target());
    const body = { ...chatOf(target()), ...ours, max_tokens: 8, n: 2 };
    const whole = await client.chat.completions.create(body);
    checkProvenance(t, whole);
    for (const choice of whole.choices) checkProvenance(t, choice);
    const ended = new Set<number>();
    for await (const chunk of await client.chat.completions.create({ ...body, stream: true })) {
      for (const { index, finish_reason } of chunk.choices) {
        if (finish_reason === null) continue;
        ended.add(index);
        checkProvenance(t, chunk);
      }
    }
    t.deepEqual([...ended].sort(), [0, 1]);
  });

  test("openai: a session and a tenant may be named by headers", async (t) => {
    const headers = { "x-isthmus-session": "conformance-1", "x-isthmus-tenant": "conformance" };
    const body = { ...chatOf(target()), max_tokens: 8 };
    const answer = await clientOf(target()).chat.completions.create(body, { headers });
    t.is(answer.choices.length, 1);
    const refused = await t.throwsAsync(
      clientOf(target()).chat.completions.create(
        { ...body, ...{ isthmus: { session: "another" } } },
        { headers },
      ),
    );
    t.like(refused, { status: 400, param: "isthmus.session" });
  });
}
