// The shell of continued streams, over sources that the test holds in its hands.
import test from "ava";
import { Fault } from "../../../proto/fault.ts";
import { contextWith, setUp, turn } from "./held-sources.ts";
import { Caller, finished, promptRequest, started, tokens } from "./scripted-source.ts";

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
