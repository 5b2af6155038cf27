// What is remembered of completions for feedback: by id, whole or not, and for a bounded time.
import { create } from "@bufbuild/protobuf";
import test from "ava";
import { RecentCompletions } from "../../../edge-node/examples/recent-completions.ts";
import { remembering } from "../../../edge-node/examples/remembering-backend.ts";
import { Fault } from "../../../proto/fault.ts";
import { GenerateRequestSchema } from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { createScriptedBackend, scriptedModel } from "../../support/scripted-backend.ts";

const MINUTE_MS = 60_000;
const roomy = { entriesMax: 100, charsMax: 1 << 20, ageMaxMs: 10 * MINUTE_MS };

function setUp(bounds: Partial<typeof roomy> = {}) {
  const clock = new ManualClock();
  clock.advance(1); // the cache takes a start at 0 for none
  const recent = new RecentCompletions({ ...roomy, ...bounds }, clock);
  const inputs: string[] = [];
  const script = createScriptedBackend();
  script.reply = () => ["an ", "answer"];
  const onInput = (_: string, prompt: string) => void inputs.push(prompt);
  const backend = remembering(script, { recent, onInput });
  return { clock, recent, inputs, script, backend };
}

const requestOf = (messages: readonly [role: string, content: string][], more: object = {}) =>
  create(GenerateRequestSchema, {
    model: scriptedModel,
    prompt: {
      case: "chat",
      value: { messages: messages.map(([role, content]) => ({ role, content })) },
    },
    ...more,
  });

const contextOf = (requestId: string, choice?: number) => ({
  ...{ signal: new AbortController().signal, visitedRegions: [], deadlineMs: Infinity },
  ...{ requestId, ...(choice !== undefined && { choice }) },
});

test("the whole text and the one user's message, by the request's id and the choice", async (t) => {
  const { backend, recent, inputs } = setUp();
  const request = requestOf([["user", "a question"]]);
  await backend.generate(request, contextOf("r"), () => {});
  await backend.generate(request, contextOf("r", 1), () => {});
  t.like(recent.get("r"), { model: scriptedModel, prompt: "a question", text: "an answer" });
  t.like(recent.get("r.1"), { version: "scripted@1" });
  t.deepEqual(inputs, ["a question", "a question"]);
});

test("talks have no prompt of their own, and rests no whole text", async (t) => {
  const { backend, recent, inputs } = setUp();
  const talk: [string, string][] = [
    ["system", "be brief"],
    ["user", "a question"],
  ];
  await backend.generate(requestOf(talk), contextOf("talk"), () => {});
  t.like(recent.get("talk"), { prompt: null, text: "an answer" });
  const session = requestOf([["user", "and now?"]], { sessionId: "s" });
  await backend.generate(session, contextOf("session"), () => {});
  t.is(recent.get("session")?.prompt, null);
  const resume = { ids: [1], textLength: 3 };
  const rest = requestOf([["user", "a question"]], { resume });
  await backend.generate(rest, contextOf("rest"), () => {});
  t.like(recent.get("rest"), { prompt: "a question", text: null });
  t.deepEqual(inputs, [], "a rest was an input where it began");
});

test("a completion that broke can be put right; one that never began is none", async (t) => {
  const { backend, recent, script } = setUp();
  const request = requestOf([["user", "a question"]]);
  const begun = script.nextCall();
  const broken = backend.generate(request, contextOf("broken"), () => {});
  const call = await begun;
  call.started();
  call.tokens("half an");
  call.fail(new Fault("engine-crashed", "gone"));
  await t.throwsAsync(broken);
  t.like(recent.get("broken"), { prompt: "a question", text: "half an" });
  const refused = script.nextCall();
  const never = backend.generate(request, contextOf("never"), () => {});
  (await refused).fail(new Fault("overloaded", "full"));
  await t.throwsAsync(never);
  t.is(recent.get("never"), undefined);
});

test("the memory is bounded by time, number and size", (t) => {
  const entry = { model: "m", version: "m@1", prompt: "p".repeat(400), text: "t".repeat(400) };
  const { clock, recent } = setUp();
  recent.remember("a", entry);
  clock.advance(9 * MINUTE_MS);
  t.truthy(recent.get("a"));
  clock.advance(2 * MINUTE_MS);
  t.is(recent.get("a"), undefined);
  const few = setUp({ entriesMax: 2 }).recent;
  for (const key of ["a", "b", "c"]) few.remember(key, entry);
  t.deepEqual(
    ["a", "b", "c"].map((key) => few.get(key) !== undefined),
    [false, true, true],
  );
  const small = setUp({ charsMax: 2500 }).recent;
  for (const key of ["a", "b", "c"]) small.remember(key, entry);
  t.is(small.get("a"), undefined);
  t.truthy(small.get("c"));
  small.remember("x".repeat(10_000), entry);
  t.is(small.get("x".repeat(10_000)), undefined);
});
