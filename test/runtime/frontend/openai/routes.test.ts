// What only a script can show of the OpenAI routes: faults, cancellation, slow readers, choices.

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import test from "ava";
import OpenAI from "openai";
import { Fault } from "../../../../proto/fault.ts";
import { GenerateResponseSchema } from "../../../../proto/gen/isthmus/v1/inference_pb.ts";
import { type Clock, systemClock } from "../../../../runtime/clock.ts";
import { KEEP_ALIVE_MS } from "../../../../runtime/frontend/openai/event-stream.ts";
import type { InferenceBackend } from "../../../../runtime/inference/backend.ts";
import { eventually } from "../../../support/eventually.ts";
import { startFrontends } from "../../../support/frontend-servers.ts";
import { ManualClock } from "../../../support/manual-clock.ts";
import { rawPost, rawSocket } from "../../../support/raw-http.ts";
import { createScriptedBackend, scriptedModel } from "../../../support/scripted-backend.ts";

const chat = {
  model: scriptedModel,
  messages: [{ role: "user" as const, content: "hello" }],
};

/** Servers of its own over a script, and the means to ask them. */
async function scripted(clock: Clock = systemClock) {
  const script = createScriptedBackend();
  const servers = await startFrontends(script, clock);
  const post = (body: object, init: RequestInit = {}) =>
    fetch(`${servers.http}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      ...init,
    });
  const client = new OpenAI({ baseURL: `${servers.http}/v1`, apiKey: "none", maxRetries: 0 });
  return { script, servers, post, client };
}

for (const stream of [false, true]) {
  const how = stream ? "streamed" : "whole";

  test(`a caller of a ${how} answer who hangs up aborts the backend`, async (t) => {
    const { script, servers, post } = await scripted();
    const next = script.nextCall();
    const hangUp = new AbortController();
    const answer = post({ ...chat, stream }, { signal: hangUp.signal });
    const call = await next;
    call.started();
    call.tokens("one");
    if (stream) await answer;
    hangUp.abort();
    await call.aborted;
    await answer.catch(() => {});
    await eventually("the call is settled", () => script.open === 0);
    t.regex(await servers.metrics.text(), /frontend="openai",outcome="cancelled"[^}]*\} 1/);
    await servers.stop();
  });

  test(`an overload before a ${how} answer begins is a 429 with Retry-After`, async (t) => {
    const { script, servers, post } = await scripted();
    const next = script.nextCall();
    const answer = post({ ...chat, stream });
    (await next).fail(new Fault("overloaded", "The queue is full", { retryAfterMs: 1200 }));
    const response = await answer;
    t.is(response.status, 429);
    t.is(response.headers.get("retry-after"), "2");
    t.is(response.headers.get("retry-after-ms"), "1200");
    const { error } = (await response.json()) as { error: object };
    t.like(error, { type: "rate_limit_error", code: "rate_limit_exceeded" });
    await servers.stop();
  });
}

test("absence is a 503 with Retry-After", async (t) => {
  const { script, servers, post } = await scripted();
  for (const code of ["unavailable", "draining", "link-lost", "model-absent"] as const) {
    const next = script.nextCall();
    const answer = post(chat);
    (await next).fail(new Fault(code, "Not now"));
    const response = await answer;
    t.is(response.status, 503);
    t.is(response.headers.get("retry-after"), "1");
    t.like(await response.json(), { error: { type: "server_error" } });
  }
  await servers.stop();
});

test("a rule that can't hold is a 412 that names the field of the body", async (t) => {
  const { script, servers, post } = await scripted();
  for (const [param, field] of [
    ["policy.regions", "isthmus.policy.regions"],
    ["session_id", "isthmus.session"],
    ["tenant", "isthmus.tenant"],
    ["messages", "messages"],
  ] as const) {
    const next = script.nextCall();
    const answer = post({ ...chat, isthmus: { policy: { regions: ["mars"] } } });
    const call = await next;
    t.deepEqual(call.request.policy?.regions, ["mars"]);
    call.fail(new Fault("failed-precondition", "no region of that name is known", { param }));
    const response = await answer;
    t.is(response.status, 412);
    t.like(await response.json(), { error: { code: "failed_precondition", param: field } });
  }
  await servers.stop();
});

test("what an internal fault says stays inside", async (t) => {
  const { script, servers, post } = await scripted();
  const next = script.nextCall();
  const answer = post(chat);
  (await next).fail(new Fault("internal", "/secret/path: secret"));
  const response = await answer;
  t.is(response.status, 500);
  t.notRegex(await response.text(), /secret/);
  await servers.stop();
});

test("a fault in the middle of a stream is told and never followed by [DONE]", async (t) => {
  const { script, servers, post, client } = await scripted();
  for (const ask of ["raw", "openai"] as const) {
    const next = script.nextCall();
    const raw = ask === "raw" ? post({ ...chat, stream: true }) : null;
    const stream =
      ask === "openai" ? client.chat.completions.create({ ...chat, stream: true }) : null;
    const call = await next;
    call.started();
    call.tokens("one");
    if (raw) {
      const response = await raw;
      call.fail(new Fault("engine-crashed", "The engine died"));
      const text = await response.text();
      t.regex(text, /"content":"one"/);
      t.regex(text, /data: \{"error":\{[^\n]*"code":"engine_crashed"[^\n]*\n\n$/);
      t.notRegex(text, /\[DONE\]/);
      t.notRegex(text, /"finish_reason":"/);
    }
    if (stream) {
      const chunks = await stream;
      call.fail(new Fault("engine-crashed", "The engine died"));
      const read = async () => {
        for await (const _ of chunks);
      };
      t.like(await t.throwsAsync(read), { code: "engine_crashed" });
    }
  }
  await servers.stop();
});

test("one choice that fails takes the others with it", async (t) => {
  const { script, servers, post } = await scripted();
  const taken = [script.nextCall(), script.nextCall()];
  const answer = post({ ...chat, n: 2, seed: 2 ** 32 - 1 });
  const [first, second] = await Promise.all(taken);
  t.is(first!.request.sampling?.seed, 2 ** 32 - 1);
  t.is(second!.request.sampling?.seed, 0);
  first!.fail(new Fault("overloaded", "The queue is full"));
  await second!.aborted;
  t.is((await answer).status, 429);
  await eventually("all calls are settled", () => script.open === 0);
  await servers.stop();
});

test("a reader of a stream who never reads is cut off", async (t) => {
  const { script, servers } = await scripted();
  const next = script.nextCall();
  const socket = rawSocket(servers.http);
  socket.pause();
  socket.write(rawPost("/v1/chat/completions", JSON.stringify({ ...chat, stream: true })));
  const call = await next;
  call.started();
  const text = "x".repeat(1000);
  const EVENTS_MAX = 50_000; // the kernel buffers a few megabytes
  let sent = 0;
  while (!call.context.signal.aborted && sent < EVENTS_MAX) {
    call.tokens(text);
    sent++;
    if (sent % 64 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  t.true(sent < EVENTS_MAX, `still not cut off after ${sent} events`);
  await eventually("the call is settled", () => script.open === 0);
  socket.destroy();
  await servers.stop();
});

test("a silent stream is kept alive by comments, before its first event too", async (t) => {
  const clock = new ManualClock();
  const { script, servers, client, post } = await scripted(clock);
  const next = script.nextCall();
  const answer = post({ ...chat, stream: true });
  const call = await next;
  clock.advance(KEEP_ALIVE_MS);
  const response = await answer; // its headers come with the first comment
  t.is(response.status, 200);
  call.started();
  call.tokens("one");
  clock.advance(KEEP_ALIVE_MS); // something was sent since
  call.tokens("two");
  clock.advance(2 * KEEP_ALIVE_MS);
  call.tokens("three");
  call.finish();
  const events = (await response.text()).split("\n\n").map((event) => event.slice(0, 12));
  const data = 'data: {"id":';
  const comment = ": keep-alive";
  t.deepEqual(events, [comment, data, data, data, comment, data, data, "data: [DONE]", ""]);
  t.is(clock.timers, 0);
  const again = script.nextCall();
  const stream = client.chat.completions.create({ ...chat, stream: true });
  const late = await again;
  clock.advance(KEEP_ALIVE_MS);
  const read = async () => {
    for await (const _ of await stream);
  };
  const reading = t.throwsAsync(read);
  late.fail(new Fault("overloaded", "The queue is full"));
  t.like(await reading, { code: "rate_limit_exceeded" });
  t.is(clock.timers, 0);
  await servers.stop();
});

test("moves, held-back text and impossible tokens are told", async (t) => {
  const backend = createScriptedBackend();
  const moving: InferenceBackend = {
    ...backend,
    async generate(_request, _context, onEvent) {
      const say = (event: MessageInitShape<typeof GenerateResponseSchema>["event"]) =>
        onEvent(create(GenerateResponseSchema, { event: event! }));
      const logprobs = [{ id: 1, text: "a", logprob: Number.NEGATIVE_INFINITY }];
      const regions = { fromRegion: "us", toRegion: "eu" };
      const moves = [
        { atToken: 1, fromEdge: "us-1", toEdge: "eu-2", cause: "link-lost", ...regions },
      ];
      const counts = { completionTokens: 1, promptTokens: 3, hedges: 1, hedgedTokens: 4 };
      say({ case: "started", value: { edge: "us-1", region: "us", version: "m@2" } });
      say({ case: "tokens", value: { index: 0, ids: [1], text: "a", logprobs } });
      say({ case: "finished", value: { text: "b", ...counts, moves } });
    },
  };
  const servers = await startFrontends(moving);
  const client = new OpenAI({ baseURL: `${servers.http}/v1`, apiKey: "none" });
  const answer = await client.chat.completions.create({ ...chat, logprobs: true });
  t.is(answer.choices[0]?.message.content, "ab");
  t.is(answer.choices[0]?.logprobs?.content?.[0]?.logprob, -9999);
  t.is(answer.system_fingerprint, "m@2");
  const provenance = {
    edge: "us-1",
    region: "us",
    version: "m@2",
    moves: [
      {
        at_token: 1,
        from_edge: "us-1",
        to_edge: "eu-2",
        from_region: "us",
        to_region: "eu",
        cause: "link-lost",
      },
    ],
    hedges: 1,
    hedged_tokens: 4,
  };
  t.deepEqual((answer as unknown as { isthmus: object }).isthmus, provenance);
  let text = "";
  let last: object = {};
  for await (const chunk of await client.chat.completions.create({ ...chat, stream: true })) {
    text += chunk.choices[0]?.delta.content ?? "";
    last = chunk;
  }
  t.is(text, "ab");
  t.deepEqual((last as { isthmus: object }).isthmus, provenance);
  await servers.stop();
});
