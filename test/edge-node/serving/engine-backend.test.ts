// Requests in the words of the wire, served by an engine: names, versions, faults.
import { create } from "@bufbuild/protobuf";
import test from "ava";
import { Fault } from "../../../proto/fault.ts";
import {
  EmbedRequestSchema,
  FinishReason,
  ScoreRequestSchema,
} from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import { ScriptedEngine } from "../engine/scripted-engine.ts";
import {
  complete,
  context,
  request,
  servedVersion,
  serveScript,
  type summary,
} from "./served-script.ts";

test("a completion names who serves it, and ends with its counts", async (t) => {
  const { engines } = serveScript({ reply: () => "hé!" });
  const { started, text, ids, finished } = await complete(engines, request({ maxTokens: 0 }));
  t.like(started, { model: "m", version: "m@1", edge: "us-1", region: "us", promptTokens: 5 });
  t.is(text, "hé!");
  t.is(ids.length, 4);
  t.like(finished, { reason: FinishReason.STOP, completionTokens: 4, promptTokens: 5 });
});

test("max_tokens ends with length, a stop sequence with stop and its name", async (t) => {
  const { engines } = serveScript({ reply: () => "one two three" });
  const cut = await complete(engines, request({ maxTokens: 3 }));
  t.like(cut.finished, { reason: FinishReason.LENGTH });
  t.is(cut.text, "one");
  const stopped = await complete(engines, request({ maxTokens: 0, stop: [" t"] }));
  t.like(stopped.finished, { reason: FinishReason.STOP, stopSequence: " t" });
  t.is(stopped.text, "one");
});

test("a resumed completion goes on right after what was delivered", async (t) => {
  const { engines } = serveScript({ reply: () => "abcdef" });
  const events: Parameters<typeof summary>[0][number][] = [];
  const resume = { ids: [..."abc"].map((c) => c.charCodeAt(0)), textLength: 3, version: "m@1" };
  await engines.generate(request({ maxTokens: 0, resume }), context(), (event) =>
    events.push(event),
  );
  const tokens = events.flatMap(({ event }) => (event.case === "tokens" ? [event.value] : []));
  t.deepEqual(
    tokens.map(({ index, text }) => [index, text]),
    [
      [3, "d"],
      [4, "e"],
      [5, "f"],
    ],
  );
});

test("logprobs are given where they are asked for", async (t) => {
  const { engines } = serveScript({ reply: () => "x" });
  const { events } = await complete(engines, request({ topLogprobs: 1 }));
  const tokens = events.flatMap(({ event }) => (event.case === "tokens" ? [event.value] : []));
  t.like(tokens[0]!.logprobs[0], { text: "x", top: [{ text: "x" }] });
});

test("a wrong field is a fault that names it, and no event", async (t) => {
  const { engines } = serveScript();
  const wrong = [
    [request({ prompt: { case: undefined } }), "prompt"],
    [request({ sampling: { temperature: Number.NaN } }), "sampling.temperature"],
    [request({ sampling: { topP: 1.5 } }), "sampling.top_p"],
    [request({ stop: [""] }), "stop[0]"],
    [request({ topLogprobs: 99 }), "top_logprobs"],
  ] as const;
  for (const [asked, param] of wrong) {
    const fault = await t.throwsAsync(complete(engines, asked), { instanceOf: Fault });
    t.like(fault, { code: "invalid-argument", param });
  }
});

test("a prompt beyond the context is context-length-exceeded", async (t) => {
  const { engines } = serveScript({ contextSize: 64 });
  const prompt = { case: "text" as const, value: "x".repeat(64) };
  const fault = await t.throwsAsync(complete(engines, request({ prompt })), { instanceOf: Fault });
  t.is(fault.code, "context-length-exceeded");
});

test("an absent model, an unopened version and a restarting engine are model-absent", async (t) => {
  const { engines, engine } = serveScript();
  const codeOf = async (asked: ReturnType<typeof request>) =>
    (await t.throwsAsync(complete(engines, asked), { instanceOf: Fault })).code;
  t.is(await codeOf(request({ model: "other" })), "model-absent");
  t.is(await codeOf(request({ version: "m@2" })), "model-absent");
  engine.crash();
  t.is(await codeOf(request()), "model-absent");
  engine.recover();
  t.is((await complete(engines)).ids.length, 5);
});

test("an engine that crashes midway interrupts with a retriable fault", async (t) => {
  const { engines, engine } = serveScript({ manual: true });
  const running = complete(engines);
  engine.step(3);
  engine.crash();
  const fault = await t.throwsAsync(running, { instanceOf: Fault });
  t.like(fault, { code: "engine-crashed", retriable: true, stage: "interrupted" });
});

test("the active version by default, a pinned or resumed one if it is open", async (t) => {
  const { engines, engine, models, version } = serveScript({ reply: (_, v) => v });
  await engine.openVersion({ id: "v2", adapters: [] });
  const second = servedVersion(engine, "m@2", "v2");
  models.open(second);
  const textOf = async (init: Parameters<typeof request>[0]) =>
    (await complete(engines, request(init))).text;
  t.is(await textOf({}), "v1");
  t.is(await textOf({ version: "m@2" }), "v2");
  t.is(await textOf({ resume: { version: "m@2" } }), "v2");
  t.is(await textOf({ resume: { version: "m@7" } }), "v1");
  models.activate(second);
  t.is(await textOf({}), "v2");
  t.is(await textOf({ resume: { version: "m@1" } }), "v1");
  models.close(version);
  t.is(await textOf({ resume: { version: "m@1" } }), "v2");
});

test("an engine counts as in use until the last of its requests has ended", async (t) => {
  const { engines, engine, models } = serveScript({ manual: true });
  const running = complete(engines, request({ maxTokens: 2 }));
  models.activate(servedVersion(new ScriptedEngine({ version: "v1" }), "m@2", "v1"));
  let isIdle = false;
  const idle = models.whenIdle(engine).then(() => {
    isIdle = true;
  });
  engine.step(2);
  await Promise.resolve();
  t.false(isIdle);
  engine.step(2);
  await running;
  await idle;
  t.true(isIdle);
  await models.whenIdle(engine);
});

test("embeddings and scores come back in the caller's order, with the edge's name", async (t) => {
  const { engines } = serveScript({ reply: () => "ab" });
  const embedded = await engines.embed(
    create(EmbedRequestSchema, { model: "m", inputs: ["one", "two"] }),
    context(),
  );
  t.is(embedded.embeddings.length, 2);
  t.is(embedded.promptTokens, 6);
  t.is(embedded.edge, "us-1");
  t.notDeepEqual(embedded.embeddings[0]!.values, embedded.embeddings[1]!.values);
  const scored = await engines.score(
    create(ScoreRequestSchema, {
      model: "m",
      prompt: { case: "text", value: "p" },
      ids: [..."ax"].map((c) => c.charCodeAt(0)),
    }),
    context(),
  );
  t.deepEqual(
    scored.scores.map(({ gap }) => gap),
    [0, 1],
  );
});

test("listModels tells each served model with its version and context", (t) => {
  const { engines, models } = serveScript({ contextSize: 512 });
  t.like(engines.listModels()[0], { id: "m", version: "m@1", contextLength: 512 });
  models.remove("m");
  t.deepEqual(engines.listModels(), []);
});

test("remaining tokens shrink as a stream goes on, and are 0 without streams", async (t) => {
  const { engines, engine } = serveScript({ manual: true });
  t.is(engines.streamsOf("m").remainingTokensMean, 0);
  const running = complete(engines, request({ maxTokens: 10 }));
  t.is(engines.streamsOf("m").remainingTokensMean, 10);
  engine.step(5); // the first step only starts it
  t.is(engines.streamsOf("m").remainingTokensMean, 6);
  engine.step(10);
  await running;
  t.is(engines.streamsOf("m").remainingTokensMean, 0);
});
