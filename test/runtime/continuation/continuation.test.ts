// The shell of continued streams, over sources that the test holds in its hands.
import test from "ava";
import { Fault } from "../../../proto/fault.ts";
import type { GenerateRequest } from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import type { Candidate } from "../../../runtime/continuation/candidate.ts";
import { createContinuation } from "../../../runtime/continuation/continuation.ts";
import type { CallContext, OnEvent } from "../../../runtime/inference/backend.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { Caller, finished, promptRequest, started, tokens } from "./scripted-source.ts";

interface Opened {
  readonly key: string;
  readonly request: GenerateRequest;
  readonly context: CallContext;
  readonly onEvent: OnEvent;
  readonly fail: (fault: Fault) => void;
}

/** Candidates by name; every source opened waits for the test to speak for it. */
function setUp(names: readonly string[]) {
  const clock = new ManualClock();
  const opened: Opened[] = [];
  const live = new Set(names);
  const moved: string[] = [];
  const candidateOf = (key: string): Candidate => ({
    key,
    edge: key,
    region: "us",
    generate: (request, context, onEvent) =>
      new Promise((_, fail) => {
        opened.push({ key, request, context, onEvent, fail });
        context.signal.addEventListener("abort", () => fail(new Fault("cancelled", "aborted")));
      }),
  });
  const continuation = createContinuation({
    clock,
    pick: (excluded) => {
      const key = [...live].find((name) => !excluded.has(name));
      return key === undefined ? null : candidateOf(key);
    },
    onMove: (key) => moved.push(key),
  });
  return { clock, opened, live, moved, continuation };
}

function contextWith(signal: AbortSignal, deadlineMs = Infinity): CallContext {
  return { signal, requestId: "r", visitedRegions: [], deadlineMs };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

test("a candidate that membership gives up is cut, and the stream goes on at once", async (t) => {
  const { clock, opened, moved, continuation } = setUp(["a", "b"]);
  const caller = new Caller();
  const context = contextWith(new AbortController().signal, clock.now() + 60_000);
  const done = continuation.generate(promptRequest(), context, caller.onEvent);
  opened[0]!.onEvent(started("a"));
  opened[0]!.onEvent(tokens(0, [1, 2], "hi"));
  continuation.moveAway("b", "not this one");
  t.is(opened.length, 1);
  continuation.moveAway("a", "suspect");
  t.is(opened.length, 2);
  t.true(opened[0]!.context.signal.aborted);
  t.deepEqual(opened[1]!.request.resume?.ids, [1, 2]);
  opened[0]!.onEvent(tokens(2, [9], "late"));
  opened[1]!.onEvent(started("b"));
  opened[1]!.onEvent(tokens(2, [3], "!"));
  opened[1]!.onEvent(finished("", 3));
  await done;
  t.deepEqual(caller.ids, [1, 2, 3]);
  t.is(caller.text, "hi!");
  t.deepEqual(caller.trouble, []);
  t.deepEqual(moved, ["a"]);
  t.is(continuation.active, 0);
  t.is(clock.timers, 0, "the deadline's timer went with the stream");
});

test("with nobody else there it waits, longer each time, and tries again", async (t) => {
  const { clock, opened, continuation } = setUp(["a"]);
  const caller = new Caller();
  const never = new AbortController().signal;
  const done = continuation.generate(promptRequest(), contextWith(never), caller.onEvent);
  opened[0]!.onEvent(started("a"));
  opened[0]!.fail(new Fault("engine-crashed", "boom"));
  await turn();
  t.is(opened.length, 1);
  clock.advance(100);
  t.is(opened.length, 2);
  opened[1]!.fail(new Fault("engine-crashed", "boom"));
  await turn();
  clock.advance(100);
  t.is(opened.length, 2);
  clock.advance(100);
  t.is(opened.length, 3);
  opened[2]!.onEvent(finished("x", 0));
  await done;
  t.is(caller.text, "x");
  t.is(clock.timers, 0);
});

test("the deadline ends the stream, and its source, wherever it is", async (t) => {
  const { clock, opened, continuation } = setUp(["a"]);
  const never = new AbortController().signal;
  const context = contextWith(never, clock.now() + 500);
  const done = continuation.generate(promptRequest(), context, () => {});
  opened[0]!.onEvent(started("a"));
  clock.advance(500);
  const fault = await t.throwsAsync(done, { instanceOf: Fault });
  t.is(fault.code, "deadline-exceeded");
  t.true(opened[0]!.context.signal.aborted);
  t.is(clock.timers, 0);
});

test("a caller that hangs up stops its source and never hears again", async (t) => {
  const { opened, continuation } = setUp(["a", "b"]);
  const caller = new Caller();
  const hangUp = new AbortController();
  const done = continuation.generate(promptRequest(), contextWith(hangUp.signal), caller.onEvent);
  opened[0]!.onEvent(started("a"));
  hangUp.abort();
  opened[0]!.onEvent(tokens(0, [1], "late"));
  t.is((await t.throwsAsync(done, { instanceOf: Fault })).code, "cancelled");
  t.true(opened[0]!.context.signal.aborted);
  t.is(opened.length, 1);
  t.deepEqual(caller.ids, []);
});

test("a consumer that refuses an event ends the stream with its fault", async (t) => {
  const { opened, continuation } = setUp(["a", "b"]);
  const never = new AbortController().signal;
  const done = continuation.generate(promptRequest(), contextWith(never), () => {
    throw new Fault("slow-consumer", "full");
  });
  opened[0]!.onEvent(started("a"));
  t.is((await t.throwsAsync(done, { instanceOf: Fault })).code, "slow-consumer");
  t.true(opened[0]!.context.signal.aborted);
  t.is(opened.length, 1);
});

test("with no candidate at all a new stream is refused without waiting", async (t) => {
  const { clock, continuation } = setUp([]);
  const never = new AbortController().signal;
  const done = continuation.generate(promptRequest(), contextWith(never), () => {});
  t.is((await t.throwsAsync(done, { instanceOf: Fault })).code, "unavailable");
  t.is(clock.timers, 0);
});
