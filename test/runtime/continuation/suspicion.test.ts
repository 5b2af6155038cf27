// Streams that leave a silent source in time, that race a late one, and that don't wait for ever.
import { create } from "@bufbuild/protobuf";
import test from "ava";
import { Fault } from "../../../proto/fault.ts";
import { GenerateRequestSchema } from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import { defaultBounds } from "../../../runtime/continuation/stream-state.ts";
import type { Answer } from "../../../runtime/inference/inquiry.ts";
import { contextWith, type Opened, setUp, turn } from "./held-sources.ts";
import { Caller, finished, promptRequest, started, tokens } from "./scripted-source.ts";

const TICK_MS = defaultBounds.silence.tickMs;
const never = () => contextWith(new AbortController().signal);

function answers(source: Opened, answer: () => Answer | Promise<Answer>): void {
  source.context.inquiry!.answeredBy(answer);
}

test("a frozen engine behind a live process is found and left within two seconds", async (t) => {
  const { clock, opened, moved, continuation } = setUp(["a", "b"], { interTokenP99Ms: 30 });
  const caller = new Caller();
  const done = continuation.generate(promptRequest(), never(), caller.onEvent);
  const sinceMs = clock.monotonicMs();
  answers(opened[0]!, () => ({ phase: "generating", silentMs: clock.monotonicMs() - sinceMs }));
  opened[0]!.onEvent(started("a"));
  opened[0]!.onEvent(tokens(0, [1, 2], "hi"));
  await clock.advanceAsync(1000, TICK_MS);
  t.is(opened.length, 1);
  await clock.advanceAsync(1000, TICK_MS);
  t.is(opened.length, 2);
  const reason = opened[0]!.context.signal.reason;
  t.is(reason instanceof Fault ? reason.code : "", "engine-crashed", "the source is told why");
  t.deepEqual(opened[1]!.request.resume?.ids, [1, 2]);
  opened[1]!.onEvent(finished("!", 2));
  await done;
  t.deepEqual(moved, ["a"]);
  if (caller.finished?.case !== "finished") throw new Error("not finished");
  t.like(caller.finished.value.moves[0], {
    atToken: 2,
    ...{ fromEdge: "a", toEdge: "b", fromRegion: "us", toRegion: "us", cause: "engine-crashed" },
  });
  t.is(clock.timers, 0);
});

test("a source that never answers is left, one that reads a long prompt is not", async (t) => {
  const { clock, opened, continuation } = setUp(["a", "b"]);
  const done = continuation.generate(promptRequest(), never(), () => {});
  answers(opened[0]!, () => new Promise(() => {}));
  await clock.advanceAsync(1750, TICK_MS);
  t.is(opened.length, 2);
  answers(opened[1]!, () => ({ phase: "reading", silentMs: 200 }));
  await clock.advanceAsync(60_000, TICK_MS);
  t.is(opened.length, 2);
  opened[1]!.onEvent(finished("", 0));
  await done;
});

test("a relay that is asked answers for itself, as long as the stream lasts", async (t) => {
  const { opened, continuation } = setUp(["a"]);
  const above = setUp(["relay"]);
  const outer = above.continuation.generate(promptRequest(), never(), () => {});
  const { inquiry } = above.opened[0]!.context;
  const done = continuation.generate(
    promptRequest(),
    { ...never(), inquiry: inquiry! },
    above.opened[0]!.onEvent,
  );
  t.deepEqual(await inquiry!.ask(), { phase: "waiting", silentMs: 0 });
  opened[0]!.onEvent(started("a"));
  opened[0]!.onEvent(tokens(0, [1], "x"));
  t.deepEqual(await inquiry!.ask(), { phase: "generating", silentMs: 0 });
  opened[0]!.onEvent(finished("", 1));
  await done;
  t.is(await inquiry!.ask(), null);
  await outer;
});

test("a second source races a late first token: one wins, the other is counted", async (t) => {
  const { clock, opened, hedged, continuation } = setUp(["a", "b", "c"], { hedgeAfterMs: 80 });
  const caller = new Caller();
  const done = continuation.generate(promptRequest(), never(), caller.onEvent);
  opened[0]!.onEvent(started("a"));
  clock.advance(79);
  t.is(opened.length, 1);
  t.is(caller.started, 0, "who serves isn't said before it is clear");
  clock.advance(1);
  t.deepEqual(hedged, ["b"]);
  opened[1]!.onEvent(started("b"));
  opened[1]!.onEvent(tokens(0, [1], "x"));
  t.true(opened[0]!.context.signal.aborted);
  opened[0]!.onEvent(tokens(0, [9], "late"));
  t.is(caller.startedBy, "b");
  clock.advance(800);
  t.is(hedged.length, 1);
  opened[1]!.onEvent(finished("", 1));
  await done;
  t.deepEqual(caller.ids, [1]);
  if (caller.finished?.case !== "finished") throw new Error("not finished");
  t.like(caller.finished.value, { hedges: 1, hedgedTokens: 4, completionTokens: 1, moves: [] });
});

test("a source that has spoken in time is never raced, however long it takes", (t) => {
  const { clock, opened, hedged, continuation } = setUp(["a", "b"], { hedgeAfterMs: 80 });
  const hangUp = new AbortController();
  continuation.generate(promptRequest(), contextWith(hangUp.signal), () => {}).catch(() => {});
  opened[0]!.onEvent(started("a"));
  opened[0]!.onEvent(tokens(0, [1], "x"));
  clock.advance(900);
  t.deepEqual(hedged, []);
  hangUp.abort();
});

test("a request that was hedged isn't hedged again by whoever the hedge goes to", (t) => {
  const { clock, opened, continuation } = setUp(["a", "b"], { hedgeAfterMs: 80 });
  const hangUp = new AbortController();
  const request = create(GenerateRequestSchema, { model: "m", policy: { hedge: true } });
  continuation.generate(request, contextWith(hangUp.signal), () => {}).catch(() => {});
  clock.advance(80);
  t.deepEqual(
    opened.map((source) => source.request.policy?.hedge),
    [true, false],
  );
  hangUp.abort();
});

test("when the first fails while the second races, the second serves", async (t) => {
  const { clock, opened, continuation } = setUp(["a", "b"], { hedgeAfterMs: 80 });
  const caller = new Caller();
  const done = continuation.generate(promptRequest(), never(), caller.onEvent);
  clock.advance(80);
  opened[0]!.fail(new Fault("engine-crashed", "boom"));
  await turn();
  opened[1]!.onEvent(started("b"));
  opened[1]!.onEvent(finished("ok", 0));
  await done;
  t.is(opened.length, 2);
  t.is(caller.text, "ok");
});

test("a begun stream that stays alone ends in time, and says how far it came", async (t) => {
  const { clock, opened, live, continuation } = setUp(["a"]);
  const done = continuation.generate(promptRequest(), never(), () => {});
  opened[0]!.onEvent(started("a"));
  opened[0]!.onEvent(tokens(0, [1, 2], "hi"));
  live.clear();
  opened[0]!.fail(new Fault("link-lost", "the edge is gone"));
  const ended = t.throwsAsync(done, { instanceOf: Fault });
  await turn();
  const sinceMs = clock.monotonicMs();
  while (continuation.active > 0) await clock.advanceAsync(TICK_MS);
  const tookMs = clock.monotonicMs() - sinceMs;
  t.true(tookMs >= defaultBounds.adriftMaxMs / 2, `gave up after ${tookMs} ms`);
  t.true(tookMs <= defaultBounds.adriftMaxMs + defaultBounds.delayMaxMs, `${tookMs} ms`);
  const fault = await ended;
  t.like(fault, { code: "link-lost", stage: "interrupted" });
  t.regex(fault.message, /go on with the stream after 2 tokens: the edge is gone/);
});

test("a token ends the time adrift: the next loss has the whole of it again", async (t) => {
  const { clock, opened, live, continuation } = setUp(["a"]);
  const caller = new Caller();
  const done = continuation.generate(promptRequest(), never(), caller.onEvent);
  opened[0]!.onEvent(started("a"));
  for (let n = 1; n <= 4; n += 1) {
    live.clear();
    opened.at(-1)!.fail(new Fault("link-lost", "gone"));
    await turn();
    await clock.advanceAsync(defaultBounds.adriftMaxMs / 2, TICK_MS);
    live.add("a");
    await clock.advanceAsync(defaultBounds.delayMaxMs, TICK_MS);
    t.is(opened.length, n + 1);
    opened.at(-1)!.onEvent(tokens(n - 1, [n], "x"));
  }
  opened.at(-1)!.onEvent(finished("", 4));
  await done;
  t.deepEqual(caller.ids, [1, 2, 3, 4]);
});
