// The OpenAI interface as its stock clients see it. Run by test/runtime/frontend against a scripted
// backend and by test/e2e against real edges and gateways.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateText, streamText } from "ai";
import type { TestFn } from "ava";
import OpenAI, { APIError } from "openai";
import { eventually } from "../support/eventually.ts";
import type { ConformanceTarget, GetTarget } from "./conformance-target.ts";
import { openAiToolConformance } from "./openai-tools.ts";

const jsonSchema = {
  type: "object",
  properties: { ok: { type: "boolean" } },
  required: ["ok"],
  additionalProperties: false,
} as const;

export function openAiConformance(test: TestFn, target: GetTarget): void {
  modelTests(test, target);
  chatTests(test, target);
  streamTests(test, target);
  optionTests(test, target);
  textTests(test, target);
  embeddingTests(test, target);
  refusalTests(test, target);
  aiPackageTests(test, target);
  openAiToolConformance(test, target);
}

const clientOf = ({ http }: ConformanceTarget): OpenAI =>
  new OpenAI({ baseURL: `${http}/v1`, apiKey: "none", maxRetries: 0 });

const chatOf = ({ model, prompt }: ConformanceTarget) => ({
  model,
  messages: [{ role: "user" as const, content: prompt }],
  temperature: 0,
  seed: 7,
  max_tokens: 24,
});

async function collected<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of stream) all.push(item);
  return all;
}

function modelTests(test: TestFn, target: GetTarget): void {
  test("openai: models are listed and each can be asked for", async (t) => {
    const client = clientOf(target());
    const models = await client.models.list();
    t.true(models.data.some(({ id, object }) => id === target().model && object === "model"));
    const one = await client.models.retrieve(target().model);
    t.is(one.id, target().model);
  });

  test("openai: a model that doesn't exist is not found, by either way", async (t) => {
    const client = clientOf(target());
    const asked = await t.throwsAsync(client.models.retrieve("no-such-model"));
    t.like(asked, { status: 404, code: "model_not_found" });
    const body = { ...chatOf(target()), model: "no-such-model" };
    const used = await t.throwsAsync(client.chat.completions.create(body));
    t.like(used, { status: 404, code: "model_not_found" });
  });
}

function chatTests(test: TestFn, target: GetTarget): void {
  test("openai: a chat completion has text, an end, usage that adds up and an id", async (t) => {
    const client = clientOf(target());
    const { data, request_id, response } = await client.chat.completions
      .create(chatOf(target()))
      .withResponse();
    t.is(data.object, "chat.completion");
    t.is(data.model, target().model);
    const [choice] = data.choices;
    t.is(choice?.message.role, "assistant");
    t.true((choice?.message.content ?? "").length > 0);
    t.true(["stop", "length"].includes(choice?.finish_reason ?? ""));
    const usage = data.usage!;
    t.true(usage.prompt_tokens > 0 && usage.completion_tokens > 0);
    t.is(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
    t.is(request_id, response.headers.get("x-isthmus-request-id"));
    t.true((request_id ?? "").length > 0);
    const { isthmus } = data as unknown as { isthmus: { edge: string; moves: unknown[] } };
    t.true(isthmus.edge.length > 0);
    t.true(Array.isArray(isthmus.moves));
  });

  test("openai: an assistant's message can be sent back as it came", async (t) => {
    const client = clientOf(target());
    const first = chatOf(target());
    const { choices } = await client.chat.completions.create(first);
    const messages = [
      ...first.messages,
      choices[0]!.message,
      { role: "developer" as const, content: "Be brief." },
      { role: "user" as const, content: [{ type: "text" as const, text: target().prompt }] },
    ];
    const second = await client.chat.completions.create({ ...first, messages });
    t.is(second.choices.length, 1);
  });

  test("openai: a JSON schema constrains the answer", async (t) => {
    const answer = await clientOf(target()).chat.completions.create({
      ...chatOf(target()),
      max_tokens: 64,
      response_format: {
        type: "json_schema",
        json_schema: { name: "answer", schema: jsonSchema, strict: true },
      },
    });
    const content = answer.choices[0]?.message.content ?? "";
    t.is(content, content.trim());
    t.is(answer.choices[0]?.finish_reason, "stop");
    const parsed: unknown = JSON.parse(content);
    t.deepEqual(Object.keys(parsed as object), ["ok"]);
    t.is(typeof (parsed as { ok: unknown }).ok, "boolean");
  });
}

function streamTests(test: TestFn, target: GetTarget): void {
  test("openai: a stream says the same as a whole answer, role first and end last", async (t) => {
    const client = clientOf(target());
    const body = chatOf(target());
    const whole = await client.chat.completions.create(body);
    const stream = await client.chat.completions.create({ ...body, stream: true });
    const chunks = await collected(stream);
    t.is(chunks[0]?.choices[0]?.delta.role, "assistant");
    const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
    t.is(text, whole.choices[0]?.message.content ?? "");
    const ends = chunks.filter((chunk) => chunk.choices[0]?.finish_reason !== null);
    t.deepEqual(ends, [chunks.at(-1)!]);
    t.is(ends[0]?.choices[0]?.finish_reason, whole.choices[0]?.finish_reason);
    t.true(chunks.every((chunk) => chunk.usage === undefined));
    const last = chunks.at(-1) as unknown as { isthmus: { edge: string } };
    t.true(last.isthmus.edge.length > 0);
  });

  test("openai: usage comes at the end of a stream when it is asked for", async (t) => {
    const stream = await clientOf(target()).chat.completions.create({
      ...chatOf(target()),
      stream: true,
      stream_options: { include_usage: true },
    });
    const chunks = await collected(stream);
    const last = chunks.at(-1)!;
    t.deepEqual(last.choices, []);
    t.true(last.usage!.completion_tokens > 0);
    t.true(chunks.slice(0, -1).every((chunk) => chunk.usage === null));
  });

  test("openai: the package's own stream helper puts a completion together", async (t) => {
    const completion = await clientOf(target())
      .chat.completions.stream(chatOf(target()))
      .finalChatCompletion();
    t.true((completion.choices[0]?.message.content ?? "").length > 0);
  });

  test("openai: a stream that is aborted stops and leaves nothing open", async (t) => {
    const stream = await clientOf(target()).chat.completions.create({
      ...chatOf(target()),
      max_tokens: 400,
      stream: true,
    });
    for await (const _chunk of stream) break;
    stream.controller.abort();
    await eventually("no completion is left open", async () => {
      const text = await (await fetch(`${target().http}/metrics`)).text();
      return /^isthmus_completions_open\{[^}]*frontend="openai"[^}]*\} 0$/m.test(text);
    });
    t.pass();
  });
}

function optionTests(test: TestFn, target: GetTarget): void {
  test("openai: stop cuts the answer before the sequence", async (t) => {
    const client = clientOf(target());
    const body = chatOf(target());
    const whole = (await client.chat.completions.create(body)).choices[0]?.message.content ?? "";
    const stop = whole.slice(Math.floor(whole.length / 2), Math.floor(whole.length / 2) + 2);
    const { choices } = await client.chat.completions.create({ ...body, stop: [stop] });
    t.is(choices[0]?.message.content, whole.slice(0, whole.indexOf(stop)));
    t.is(choices[0]?.finish_reason, "stop");
  });

  test("openai: max_tokens and max_completion_tokens end the answer by length", async (t) => {
    const client = clientOf(target());
    const { max_tokens: _, ...body } = chatOf(target());
    for (const bound of [{ max_tokens: 1 }, { max_completion_tokens: 1 }]) {
      const { choices, usage } = await client.chat.completions.create({ ...body, ...bound });
      t.is(choices[0]?.finish_reason, "length");
      t.is(usage?.completion_tokens, 1);
    }
  });

  test("openai: n makes that many choices, and the same seed the same ones", async (t) => {
    const client = clientOf(target());
    const body = { ...chatOf(target()), temperature: 1, n: 3 };
    const [first, second] = [
      await client.chat.completions.create(body),
      await client.chat.completions.create(body),
    ];
    t.deepEqual(
      first.choices.map(({ index }) => index),
      [0, 1, 2],
    );
    const texts = ({ choices }: OpenAI.ChatCompletion) => choices.map((c) => c.message.content);
    t.deepEqual(texts(second), texts(first));
    const stream = await client.chat.completions.create({ ...body, stream: true });
    const ended = new Set<number>();
    for await (const { choices } of stream) {
      for (const { index, finish_reason } of choices) if (finish_reason) ended.add(index);
    }
    t.deepEqual([...ended].sort(), [0, 1, 2]);
  });

  test("openai: logprobs tell each token and its alternatives", async (t) => {
    const { choices, usage } = await clientOf(target()).chat.completions.create({
      ...chatOf(target()),
      logprobs: true,
      top_logprobs: 2,
    });
    const tokens = choices[0]?.logprobs?.content ?? [];
    // The token that ends a completion is counted, and has no text to tell.
    t.true(tokens.length > 0 && tokens.length <= usage!.completion_tokens);
    for (const { logprob, bytes, top_logprobs } of tokens) {
      t.true(logprob <= 0);
      t.true(Array.isArray(bytes));
      t.is(top_logprobs.length, 2);
    }
  });

  test("openai: fields that change nothing here are accepted", async (t) => {
    const answer = await clientOf(target()).chat.completions.create({
      ...chatOf(target()),
      user: "somebody",
      metadata: { purpose: "test" },
      store: false,
      service_tier: "auto",
      parallel_tool_calls: true,
      tool_choice: "none",
      presence_penalty: 0,
      frequency_penalty: 0,
      logit_bias: {},
      modalities: ["text"],
      response_format: { type: "text" },
      stop: null,
      n: null,
      top_p: 1,
    });
    t.is(answer.choices.length, 1);
  });
}

function textTests(test: TestFn, target: GetTarget): void {
  test("openai: legacy completions answer whole and streamed alike", async (t) => {
    const client = clientOf(target());
    const { model, prompt } = target();
    const body = { model, prompt, temperature: 0, max_tokens: 8 };
    const whole = await client.completions.create(body);
    t.is(whole.object, "text_completion");
    t.true(["stop", "length"].includes(whole.choices[0]?.finish_reason ?? ""));
    const stream = await client.completions.create({ ...body, stream: true });
    let text = "";
    for await (const chunk of stream) text += chunk.choices[0]?.text ?? "";
    t.is(text, whole.choices[0]?.text ?? "");
  });

  test("openai: legacy completions take several prompts", async (t) => {
    const { model, prompt } = target();
    const body = { model, prompt: [prompt, prompt], temperature: 0, max_tokens: 4 };
    const { choices } = await clientOf(target()).completions.create(body);
    t.deepEqual(
      choices.map(({ index }) => index),
      [0, 1],
    );
    t.is(choices[0]?.text, choices[1]?.text);
  });
}

function embeddingTests(test: TestFn, target: GetTarget): void {
  test("openai: embeddings come as floats and as base64 alike", async (t) => {
    if (!target().embeds) return t.pass("the model doesn't embed");
    const client = clientOf(target());
    const body = { model: target().model, input: [target().prompt, "something else"] };
    const decoded = await client.embeddings.create(body); // asks for base64 by itself
    const floats = await client.embeddings.create({ ...body, encoding_format: "float" });
    t.is(floats.data.length, 2);
    t.true(floats.usage.prompt_tokens > 0);
    for (const [at, { embedding }] of floats.data.entries()) {
      t.true(embedding.length > 0);
      t.deepEqual(embedding.map(Math.fround), decoded.data[at]?.embedding);
    }
  });

  test("openai: embeddings of token arrays are refused clearly", async (t) => {
    const body = { model: target().model, input: [1, 2, 3] };
    const refused = await t.throwsAsync(clientOf(target()).embeddings.create(body));
    t.like(refused, { status: 400, param: "input", code: "unsupported_parameter" });
  });
}

function refusalTests(test: TestFn, target: GetTarget): void {
  const image = { type: "image_url", image_url: { url: "data:," } };
  const refusals: readonly (readonly [string, object, { code: string; param: string | null }])[] = [
    ["an unknown field", { colour: 1 }, { code: "unknown_parameter", param: "colour" }],
    ["a wrong type", { temperature: "hot" }, { code: "invalid_type", param: "temperature" }],
    ["a value out of range", { top_p: 2 }, { code: "invalid_value", param: "top_p" }],
    [
      "no messages",
      { messages: undefined },
      { code: "missing_required_parameter", param: "messages" },
    ],
    [
      "a penalty",
      { presence_penalty: 1 },
      { code: "unsupported_parameter", param: "presence_penalty" },
    ],
    [
      "an image",
      { messages: [{ role: "user", content: [image] }] },
      { code: "unsupported_content", param: "messages[0].content[0]" },
    ],
    ["too many choices", { n: 1000 }, { code: "invalid_value", param: "n" }],
    [
      "top_logprobs without logprobs",
      { top_logprobs: 2 },
      { code: "invalid_value", param: "top_logprobs" },
    ],
    [
      "stream options without a stream",
      { stream_options: { include_usage: true } },
      { code: "invalid_value", param: "stream_options" },
    ],
  ];
  for (const [what, change, expected] of refusals) {
    test(`openai: ${what} is refused by name`, async (t) => {
      const body = { ...chatOf(target()), ...change } as OpenAI.ChatCompletionCreateParams;
      const refused = await t.throwsAsync(clientOf(target()).chat.completions.create(body));
      t.true(refused instanceof APIError);
      t.like(refused, { status: 400, type: "invalid_request_error", ...expected });
    });
  }

  test("openai: a prompt beyond the context says so, whole or streamed", async (t) => {
    const content = "word ".repeat(100_000);
    const messages = [{ role: "user" as const, content }];
    const body = { ...chatOf(target()), messages };
    for (const stream of [false, true]) {
      const call = clientOf(target()).chat.completions.create({ ...body, stream });
      t.like(await t.throwsAsync(call), { status: 400, code: "context_length_exceeded" });
    }
  });
}

function aiPackageTests(test: TestFn, target: GetTarget): void {
  const providerOf = ({ http }: ConformanceTarget) =>
    createOpenAICompatible({ name: "isthmus", baseURL: `${http}/v1`, includeUsage: true });

  test("ai package: text is generated and streamed alike, with usage", async (t) => {
    const model = providerOf(target()).chatModel(target().model);
    const request = {
      model,
      prompt: target().prompt,
      temperature: 0,
      maxOutputTokens: 16,
      seed: 7,
    };
    const whole = await generateText({ ...request, maxRetries: 0 });
    const streamed = streamText({ ...request, maxRetries: 0 });
    let text = "";
    for await (const part of streamed.textStream) text += part;
    t.true(text.length > 0);
    t.is(text, whole.text);
    t.true(["stop", "length"].includes(await streamed.finishReason));
    const usage = await streamed.usage;
    t.true((usage.inputTokens ?? 0) > 0 && (usage.outputTokens ?? 0) > 0);
  });

  test("ai package: embeddings", async (t) => {
    if (!target().embeds) return t.pass("the model doesn't embed");
    const model = providerOf(target()).embeddingModel(target().model);
    const { embeddings } = await embedMany({ model, values: ["one", "two"] });
    t.is(embeddings.length, 2);
  });
}
