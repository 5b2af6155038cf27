// An edge that is drained takes nothing new, lets streams end within the grace, moves the rest, and
// can be taken back; in process, with the real admission and the real relay above it.
import test from "ava";
import { EscalatingBackend } from "../../../edge-node/escalation/escalating-backend.ts";
import { Drain } from "../../../edge-node/serving/drain.ts";
import { Fault } from "../../../proto/fault.ts";
import { systemClock } from "../../../runtime/clock.ts";
import { createLog } from "../../../runtime/log.ts";
import { eventually } from "../../support/eventually.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { complete, request, type ServedScriptOptions, serveScript } from "./served-script.ts";

const log = createLog({ role: "test", name: "drain", level: "silent" });
const TEXT = "a reply of some length";
const GRACE_MS = 1000;

function setUp(options: ServedScriptOptions = {}) {
  const clock = new ManualClock();
  const script = serveScript({ reply: () => TEXT, manual: true, clock, ...options });
  let changes = 0;
  const drain = new Drain({ requests: script.admitted, clock, log, onChange: () => changes++ });
  const { engine, admitted } = script;
  const begin = async (count = 1) => {
    const running = Array.from({ length: count }, () => complete(admitted, whole));
    await eventually("they run", () => engine.stats().active === count);
    return running;
  };
  return { ...script, clock, drain, begin, changes: () => changes };
}

const whole = request({ maxTokens: 0 });

const faultOf = async (work: Promise<unknown>): Promise<Fault> => {
  const thrown = await work.then(
    () => new Error("it was served"),
    (fault: unknown) => fault,
  );
  if (thrown instanceof Fault) return thrown;
  throw thrown;
};

test("new work and what waits is refused at once; what runs ends in its own time", async (t) => {
  const { drain, admitted, engine, begin, clock } = setUp({ slots: 1 });
  const [running] = await begin();
  const waiting = complete(admitted, whole);
  drain.begin(GRACE_MS);
  t.true(drain.isDraining);
  t.like(await faultOf(waiting), { code: "draining", stage: "evicted" });
  t.like(await faultOf(complete(admitted, whole)), { code: "draining", stage: "rejected" });
  t.is(admitted.inFlight, 1);
  engine.step(TEXT.length + 2);
  t.is((await running!).text, TEXT);
  t.is(admitted.inFlight, 0);
  clock.advance(GRACE_MS);
  t.true(drain.isDraining, "until it is taken back");
});

test("after the grace what still runs is interrupted, and its slots are free", async (t) => {
  const { drain, admitted, engine, begin, clock } = setUp();
  const running = await begin(3);
  engine.step(4);
  drain.begin(GRACE_MS);
  clock.advance(GRACE_MS - 1);
  t.is(admitted.inFlight, 3);
  clock.advance(1);
  for (const each of running) {
    t.like(await faultOf(each), { code: "draining", stage: "interrupted" });
  }
  t.is(admitted.inFlight, 0);
  t.is(engine.stats().active, 0);
});

test("a caller who hangs up in the grace is cancelled, not moved", async (t) => {
  const { drain, admitted, engine, clock } = setUp();
  const caller = new AbortController();
  const { signal } = caller;
  const around = {
    signal,
    requestId: "1",
    visitedRegions: [],
    deadlineMs: Number.POSITIVE_INFINITY,
  };
  const running = complete(admitted, whole, around);
  await eventually("it runs", () => engine.stats().active === 1);
  drain.begin(GRACE_MS);
  caller.abort();
  clock.advance(GRACE_MS);
  t.is((await faultOf(running)).code, "cancelled");
});

test("taken back, it serves again, and the grace of before interrupts nobody", async (t) => {
  const { drain, admitted, engine, begin, clock, changes } = setUp();
  const [before] = await begin();
  drain.begin(GRACE_MS);
  drain.takeBack();
  t.false(drain.isDraining);
  drain.takeBack();
  t.is(changes(), 2, "taken back once");
  clock.advance(10 * GRACE_MS);
  const after = complete(admitted, whole);
  await eventually("both run", () => engine.stats().active === 2);
  engine.step(TEXT.length + 2);
  t.is((await before!).text, TEXT);
  t.is((await after).text, TEXT);
});

test("told again, the grace begins again", async (t) => {
  const { drain, admitted, begin, clock } = setUp();
  const [running] = await begin();
  drain.begin(GRACE_MS);
  clock.advance(GRACE_MS - 1);
  drain.begin(GRACE_MS);
  clock.advance(GRACE_MS - 1);
  t.is(admitted.inFlight, 1);
  drain.begin(0);
  clock.advance(0);
  t.is((await faultOf(running!)).code, "draining");
});

test("a process that stops drains for good: within its time, or by interruption", async (t) => {
  const { drain, begin, clock } = setUp();
  const [running] = await begin();
  const stopped = drain.stop(500);
  drain.takeBack();
  t.true(drain.isDraining);
  clock.advance(500);
  await stopped;
  t.is((await faultOf(running!)).code, "draining");
  const idle = setUp();
  await idle.drain.stop(500);
  t.is(idle.clock.timers, 0);
});

test("after the grace a direct caller's stream goes on through the region", async (t) => {
  const { drain, admitted, models, engine, clock } = setUp();
  const there = serveScript({ reply: () => TEXT });
  const edge = new EscalatingBackend({
    edge: "us-1",
    region: "us",
    local: admitted,
    localRefusal: (model) => {
      return drain.isDraining ? new Fault("draining", "drained") : models.refusal(model);
    },
    onlyElsewhere: () => null,
    trunk: {
      state: "up",
      ...there.admitted,
      generate: (...call) => there.admitted.generate(...call),
    },
    clock: systemClock,
  });
  const running = complete(edge, whole);
  await eventually("it runs", () => engine.stats().active === 1);
  engine.step(5);
  drain.begin(GRACE_MS);
  clock.advance(GRACE_MS);
  const { text, ids, finished } = await running;
  t.is(text, TEXT);
  t.is(ids.length, TEXT.length);
  t.like((finished as { moves: object[] }).moves[0], { atToken: 4, cause: "draining" });
  t.is((await complete(edge, whole)).text, TEXT, "and new ones go there at once");
  t.is(admitted.inFlight, 0);
});
