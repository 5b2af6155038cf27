// An edge on its own, as a process with a real engine: what callers get, under load and abuse.

import test from "ava";
import OpenAI, { APIError } from "openai";
import { Discovery, GetTopologyRequestSchema } from "../../proto/gen/isthmus/v1/discovery_pb.ts";
import { Inference } from "../../proto/gen/isthmus/v1/inference_pb.ts";
import { createClient, messagesOf } from "../../runtime/grpc/bridge.ts";
import { openChannel } from "../../runtime/grpc/channel.ts";
import { randomModel } from "../models/tiny-model.ts";
import { eventually } from "../support/eventually.ts";
import { EdgeProcess } from "./edge-process.ts";

const CONTEXT = 4096;
let edge: EdgeProcess;
let openai: OpenAI;

test.before(async () => {
  const path = await randomModel({ contextLength: CONTEXT });
  edge = await EdgeProcess.start({
    models: [{ model: "tiny", path }],
    engine: { slots: 2, contextSize: CONTEXT, threads: 1 },
    queueMax: 1,
  });
  openai = new OpenAI({ baseURL: `${edge.http}/v1`, apiKey: "none", maxRetries: 0 });
  await edge.ready();
});
test.after.always(() => edge?.destroy());

const messages = [{ role: "user" as const, content: "hello" }];

/** A completion that goes on until it is aborted, or its context is full seconds later. */
async function endless(signal: AbortSignal): Promise<void> {
  const asked = { model: "tiny", messages, stream: true as const, temperature: 0 };
  const stream = await openai.chat.completions.create(asked, { signal });
  const first = stream[Symbol.asyncIterator]();
  await first.next();
  await first.next();
}

const idle = () =>
  eventually(
    "no slot is taken",
    async () =>
      (await edge.metric("isthmus_slots_active")) === 0 &&
      (await edge.metric("isthmus_queue")) === 0,
  );

test.serial(
  "the stock openai package chats, whole and streamed, with the same words",
  async (t) => {
    const asked = { model: "tiny", messages, max_tokens: 24, temperature: 0, seed: 1 };
    const whole = await openai.chat.completions.create(asked);
    t.is(whole.usage?.completion_tokens, 24);
    t.is(whole.choices[0]!.finish_reason, "length");
    const stream = await openai.chat.completions.create({ ...asked, stream: true });
    let text = "";
    for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? "";
    t.is(text, whole.choices[0]!.message.content!);
    t.true(text.length > 0);
    const models = await openai.models.list();
    t.deepEqual(
      models.data.map(({ id }) => id),
      ["tiny"],
    );
  },
);

test.serial("gRPC tells who serves; discovery names this edge", async (t) => {
  const channel = openChannel(edge.grpc);
  const inference = createClient(Inference, channel);
  const asked = {
    model: "tiny",
    prompt: { case: "text" as const, value: "hello" },
    maxTokens: 8,
    sampling: { temperature: 0 },
  };
  const kinds: string[] = [];
  for await (const { event } of messagesOf(inference.generate(asked))) {
    kinds.push(event.case ?? "");
    if (event.case === "started") {
      t.like(event.value, { edge: "us-1", region: "us", version: "tiny@0" });
    }
  }
  t.is(kinds.at(0), "started");
  t.is(kinds.at(-1), "finished");
  const discovery = createClient(Discovery, channel);
  const { regions } = await discovery.getTopology({ $typeName: GetTopologyRequestSchema.typeName });
  t.like(regions[0], { region: "us", edges: [{ edge: "us-1", grpc: edge.grpc, ready: true }] });
  channel.close();
});

test.serial("a prompt beyond the context is context_length_exceeded", async (t) => {
  const content = "x".repeat(CONTEXT + 1);
  const asked = { model: "tiny", messages: [{ role: "user" as const, content }] };
  const refused = await t.throwsAsync(openai.chat.completions.create(asked), {
    instanceOf: APIError,
  });
  t.like(refused, { status: 400, code: "context_length_exceeded" });
});

test.serial("a model that nobody has is 404", async (t) => {
  const asked = { model: "nope", messages };
  const refused = await t.throwsAsync(openai.chat.completions.create(asked), {
    instanceOf: APIError,
  });
  t.is(refused.status, 404);
});

test.serial(
  "what its place rules out is refused by the rule's name, there being nobody else",
  async (t) => {
    const cases: [object, string][] = [
      [{ policy: { regions: ["eu"] } }, "isthmus.policy.regions"],
      [{ policy: { jurisdictions: ["gdpr"] } }, "isthmus.policy.jurisdictions"],
      [{ session: "s-1" }, "isthmus.session"],
    ];
    for (const [isthmus, param] of cases) {
      const body = JSON.stringify({ model: "tiny", messages, max_tokens: 2, isthmus });
      const init = { method: "POST", body, headers: { "content-type": "application/json" } };
      const answer = await fetch(`${edge.http}/v1/chat/completions`, init);
      const { error } = (await answer.json()) as { error: { code: string; param: string } };
      t.is(answer.status, 412);
      t.like(error, { code: "failed_precondition", param });
    }
  },
);

test.serial(
  "slots and queue full: 429 with Retry-After; hanging up frees them at once",
  async (t) => {
    const hangUp = new AbortController();
    const { signal } = hangUp;
    await Promise.all([endless(signal), endless(signal)]);
    const waiting = endless(signal).catch(() => "aborted");
    await eventually("one waits", async () => (await edge.metric("isthmus_queue")) === 1);
    const refused = await t.throwsAsync(
      openai.chat.completions.create({ model: "tiny", messages, max_tokens: 1 }),
      { instanceOf: APIError },
    );
    t.is(refused.status, 429);
    t.true(Number(refused.headers?.get("retry-after")) >= 1);
    t.is((await fetch(`${edge.http}/healthz`)).status, 200);
    hangUp.abort();
    t.is(await waiting, "aborted");
    await idle();
    const served = await openai.chat.completions.create({ model: "tiny", messages, max_tokens: 2 });
    t.is(served.usage?.completion_tokens, 2);
  },
);

test.serial("500 callers that hang up leave no slot taken and no engine behind", async (t) => {
  const [engine] = edge.enginePids;
  const codes = new Map<string, number>();
  const count = (code: string) => codes.set(code, (codes.get(code) ?? 0) + 1);
  const one = async () => {
    const asked = { model: "tiny", messages, stream: true as const };
    try {
      const stream = await openai.chat.completions.create(asked);
      for await (const _ of stream) break; // leaving the loop hangs up
      count("served");
    } catch (thrown) {
      count(thrown instanceof APIError ? String(thrown.status) : "broken");
    }
  };
  for (let round = 0; round < 100; round++) await Promise.all([one(), one(), one(), one(), one()]);
  await idle();
  t.deepEqual(edge.enginePids, [engine]);
  t.true(
    [...codes.keys()].every((code) => code === "served" || code === "429"),
    [...codes].join(),
  );
  t.true(codes.get("served")! > 100);
  const served = await openai.chat.completions.create({ model: "tiny", messages, max_tokens: 2 });
  t.is(served.usage?.completion_tokens, 2);
});
