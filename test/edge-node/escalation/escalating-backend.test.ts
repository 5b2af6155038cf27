// Direct callers get help from the region; what the region sent is never sent back to it.
import { create } from "@bufbuild/protobuf";
import test from "ava";
import {
  EscalatingBackend,
  type RegionTrunk,
} from "../../../edge-node/escalation/escalating-backend.ts";
import { onlyElsewhere } from "../../../edge-node/escalation/placement-rules.ts";
import { Fault } from "../../../proto/fault.ts";
import { EmbedRequestSchema } from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import { systemClock } from "../../../runtime/clock.ts";
import type { InferenceBackend } from "../../../runtime/inference/backend.ts";
import { eventually } from "../../support/eventually.ts";
import type { ScriptedEngine } from "../engine/scripted-engine.ts";
import {
  complete,
  context,
  request,
  type ServedScriptOptions,
  serveScript,
} from "../serving/served-script.ts";

const TEXT = "the quick brown fox jumps over the lazy dog";
const script = { reply: () => TEXT };

/** A region whose trunk leads straight to another edge. */
function regionOver(backend: InferenceBackend) {
  const calls: string[] = [];
  const trunk = {
    state: "up" as RegionTrunk["state"],
    generate: async (...call: Parameters<InferenceBackend["generate"]>) => {
      calls.push("generate");
      await backend.generate(...call);
    },
    embed: async (...call: Parameters<InferenceBackend["embed"]>) => {
      calls.push("embed");
      return await backend.embed(...call);
    },
    score: backend.score,
  };
  return { trunk, calls };
}

const place = { region: "us", jurisdictions: ["us"], hasGpu: () => false };

function setUp(options: ServedScriptOptions = {}, trunk?: RegionTrunk) {
  const here = serveScript({ ...script, ...options });
  const causes: string[] = [];
  const edge = new EscalatingBackend({
    edge: "us-1",
    region: "us",
    local: here.admitted,
    localRefusal: (model) => here.models.refusal(model),
    onlyElsewhere: (asked) => onlyElsewhere(asked, place),
    trunk,
    clock: systemClock,
    onEscalate: (cause) => causes.push(cause),
  });
  return { ...here, edge, causes };
}

const failing = (fault: Fault): InferenceBackend => ({
  generate: async () => Promise.reject(fault),
  embed: async () => Promise.reject(fault),
  score: async () => Promise.reject(fault),
  listModels: () => [],
});

const atWork = (engine: ScriptedEngine) =>
  eventually("a stream has reached the engine", () => engine.stats().active === 1);

const codeOf = async (work: Promise<unknown>) => {
  try {
    await work;
    return "ok";
  } catch (thrown) {
    return (thrown as Fault).code;
  }
};

test("what can be served here never leaves", async (t) => {
  const { trunk, calls } = regionOver(serveScript(script).engines);
  const { edge, causes } = setUp({}, trunk);
  t.is((await complete(edge, request({ maxTokens: 0 }))).text, TEXT);
  t.deepEqual([calls, causes], [[], []]);
});

test("full, absent or restarting here, it is served through the region", async (t) => {
  const { trunk } = regionOver(serveScript({ ...script }).engines);
  const { edge, engine, causes } = setUp({ manual: true, slots: 1, queueMax: 0 }, trunk);
  const hanging = complete(edge).catch(() => {});
  await atWork(engine);
  t.is((await complete(edge, request({ maxTokens: 0 }))).text, TEXT);
  t.deepEqual(causes, ["overloaded"]);
  const absent = request({ model: "other" });
  t.is(await codeOf(complete(edge, absent)), "model-absent", "the region hasn't got it either");
  engine.crash();
  await hanging;
  t.is((await complete(edge, request({ maxTokens: 0 }))).text, TEXT);
  t.deepEqual(new Set(causes), new Set(["overloaded", "model-absent", "engine-crashed"]));
});

test("a stream whose engine crashes goes on through the region, whole", async (t) => {
  const { trunk } = regionOver(serveScript(script).engines);
  for (let delivered = 0; delivered <= TEXT.length; delivered += 7) {
    const { edge, engine } = setUp({ manual: true }, trunk);
    const running = complete(edge, request({ maxTokens: 0 }));
    await atWork(engine);
    engine.step(1 + delivered);
    engine.crash();
    const { text, ids, finished } = await running;
    t.is(text, TEXT);
    t.is(ids.length, TEXT.length);
    t.like(finished, { completionTokens: TEXT.length });
    const moves = (finished as { moves: { atToken: number; cause: string }[] }).moves;
    t.like(moves[0], { atToken: delivered, cause: "engine-crashed" });
  }
});

test("without a region it goes on here, once the engine is back", async (t) => {
  const { edge, engine } = setUp({ manual: true });
  const running = complete(edge, request({ maxTokens: 0 }));
  await atWork(engine);
  engine.step(10);
  engine.crash();
  engine.recover();
  await atWork(engine);
  engine.step(100);
  const { text, finished } = await running;
  t.is(text, TEXT);
  t.like(finished, { moves: [{ atToken: 9, toEdge: "us-1" }] });
});

test("with the region gone or refusing too, the caller gets the first fault at once", async (t) => {
  const { trunk } = regionOver(serveScript(script).engines);
  trunk.state = "down";
  const gone = setUp({ manual: true, slots: 1, queueMax: 0 }, trunk);
  const hanging = complete(gone.edge).catch(() => {});
  await atWork(gone.engine);
  const full = await t.throwsAsync(complete(gone.edge), { instanceOf: Fault });
  t.is(full.code, "overloaded");
  t.true(full.retryAfterMs > 0);
  t.is(await codeOf(complete(gone.edge, request({ model: "other" }))), "model-absent");
  gone.engine.crash();
  gone.engine.recover();
  await gone.engine.close();
  await hanging;
  for (const code of ["overloaded", "unavailable", "link-lost"] as const) {
    const { edge } = setUp({}, regionOver(failing(new Fault(code, "not here"))).trunk);
    t.is(await codeOf(complete(edge, request({ model: "other" }))), "model-absent");
  }
});

test("a final answer of the region is the answer", async (t) => {
  const { trunk } = regionOver(failing(new Fault("model-not-found", "nobody has it")));
  const { edge } = setUp({}, trunk);
  t.is(await codeOf(complete(edge, request({ model: "other" }))), "model-not-found");
  const embed = create(EmbedRequestSchema, { model: "other", inputs: ["x"] });
  t.is(await codeOf(edge.embed(embed, context())), "model-not-found");
});

test("for an edge on its own a model that isn't here doesn't exist", async (t) => {
  const { edge } = setUp();
  const fault = await t.throwsAsync(complete(edge, request({ model: "other" })), {
    instanceOf: Fault,
  });
  t.like(fault, { code: "model-not-found", param: "model" });
});

test("embeddings that can't be made here are made through the region", async (t) => {
  const { trunk, calls } = regionOver(serveScript(script).engines);
  const { edge, engine } = setUp({}, trunk);
  engine.crash();
  const embed = create(EmbedRequestSchema, { model: "m", inputs: ["x"] });
  t.is((await edge.embed(embed, context())).embeddings.length, 1);
  t.deepEqual(calls, ["embed"]);
});

test("a wrong request is refused here and bothers nobody else", async (t) => {
  const { trunk, calls } = regionOver(serveScript(script).engines);
  const { edge } = setUp({}, trunk);
  t.is(await codeOf(complete(edge, request({ stop: [""] }))), "invalid-argument");
  t.deepEqual(calls, []);
});
