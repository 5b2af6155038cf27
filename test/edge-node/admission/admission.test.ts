// Admission around real asynchronous work: slots come back however the work ends.
import test from "ava";
import { Admission } from "../../../edge-node/admission/admission.ts";
import { Fault } from "../../../proto/fault.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const forever = Number.POSITIVE_INFINITY;

function setUp(slots: number, queueMax: number) {
  const clock = new ManualClock();
  const admission = new Admission({ model: "m", slots, queueMax, clock });
  const request = (
    options: { deadlineMs?: number; signal?: AbortSignal; tenant?: string } = {},
  ) => ({
    priority: "interactive" as const,
    tenant: options.tenant ?? "",
    leastMs: 0,
    deadlineMs: options.deadlineMs ?? forever,
    signal: options.signal ?? new AbortController().signal,
  });
  return { clock, admission, request };
}

test("work beyond slots and queue is overloaded, with a time to come back", async (t) => {
  const { admission, request } = setUp(1, 1);
  const gate = Promise.withResolvers<void>();
  const first = admission.run(request(), () => gate.promise);
  const second = admission.run(request(), async () => "second");
  const refused = await t.throwsAsync(
    admission.run(request(), async () => {}),
    {
      instanceOf: Fault,
    },
  );
  t.like(refused, { code: "overloaded", stage: "rejected" });
  t.true(refused.retryAfterMs > 0);
  gate.resolve();
  await first;
  t.is(await second, "second");
  t.is(admission.active, 0);
});

test("a slot comes back when the work throws", async (t) => {
  const { admission, request } = setUp(1, 0);
  await t.throwsAsync(admission.run(request(), async () => Promise.reject(new Error("broken"))));
  t.is(admission.active, 0);
  t.is(await admission.run(request(), async () => 7), 7);
});

test("a waiting caller who hangs up leaves the queue and runs nothing", async (t) => {
  const { admission, request } = setUp(1, 1);
  const gate = Promise.withResolvers<void>();
  const first = admission.run(request(), () => gate.promise);
  const caller = new AbortController();
  const waiting = admission.run(request({ signal: caller.signal }), async () => t.fail());
  t.is(admission.queued, 1);
  caller.abort();
  await t.throwsAsync(waiting, { instanceOf: Fault, message: /gone/ });
  t.is(admission.queued, 0);
  gate.resolve();
  await first;
});

test("a deadline that passes in the queue evicts by the clock alone", async (t) => {
  const { clock, admission, request } = setUp(1, 1);
  const gate = Promise.withResolvers<void>();
  const first = admission.run(request(), () => gate.promise);
  const waiting = admission.run(request({ deadlineMs: clock.now() + 100 }), async () => t.fail());
  clock.advance(100);
  const evicted = await t.throwsAsync(waiting, { instanceOf: Fault });
  t.like(evicted, { code: "deadline-exceeded", stage: "evicted" });
  gate.resolve();
  await first;
});

test("draining sends away what waits, finishes what runs, and takes nothing more", async (t) => {
  const { admission, request } = setUp(1, 2);
  const gate = Promise.withResolvers<void>();
  const running = admission.run(request(), () => gate.promise.then(() => "finished"));
  const waiting = admission.run(request(), async () => t.fail());
  let isDrained = false;
  const drained = admission.drain().then(() => {
    isDrained = true;
  });
  t.like(await t.throwsAsync(waiting, { instanceOf: Fault }), { code: "draining" });
  const late = admission.run(request(), async () => t.fail());
  t.like(await t.throwsAsync(late, { instanceOf: Fault }), { code: "draining" });
  t.false(isDrained);
  gate.resolve();
  t.is(await running, "finished");
  await drained;
  t.true(isDrained);
});

test("what is displaced for another tenant is told to come back", async (t) => {
  const { admission, request } = setUp(1, 2);
  const gate = Promise.withResolvers<void>();
  const running = admission.run(request({ tenant: "noisy" }), () => gate.promise);
  const first = admission.run(request({ tenant: "noisy" }), async () => "first");
  const second = admission.run(request({ tenant: "noisy" }), async () => t.fail());
  const quiet = admission.run(request({ tenant: "quiet" }), async () => "quiet");
  const displaced = await t.throwsAsync(second, { instanceOf: Fault });
  t.like(displaced, { code: "overloaded", stage: "evicted" });
  t.true(displaced.retryAfterMs > 0);
  gate.resolve();
  await running;
  t.deepEqual(await Promise.all([first, quiet]), ["first", "quiet"]);
  t.is(admission.active + admission.queued, 0);
});

test("reopened after a drain, it takes requests again, and can be drained again", async (t) => {
  const { admission, request } = setUp(1, 2);
  await admission.drain();
  await t.throwsAsync(
    admission.run(request(), async () => t.fail()),
    { instanceOf: Fault },
  );
  admission.reopen();
  t.is(await admission.run(request(), async () => 1), 1);
  const gate = Promise.withResolvers<void>();
  const running = admission.run(request(), () => gate.promise);
  let isDrained = false;
  const drained = admission.drain().then(() => {
    isDrained = true;
  });
  await Promise.resolve();
  t.false(isDrained);
  gate.resolve();
  await running;
  await drained;
});

test("500 callers that hang up at any moment leave no slot taken", async (t) => {
  const { admission, request } = setUp(4, 32);
  const ended = Array.from({ length: 500 }, async (_, n) => {
    const caller = new AbortController();
    const { signal } = caller;
    const work = () =>
      new Promise<void>((_, reject) => {
        const gone = () => reject(new Fault("cancelled", "gone"));
        if (signal.aborted) gone();
        else signal.addEventListener("abort", gone);
      });
    const run = admission.run(request({ signal }), work).catch((fault: Fault) => fault.code);
    for (let turn = 0; turn < n % 7; turn++) await Promise.resolve();
    caller.abort();
    return await run;
  });
  const codes = new Set(await Promise.all(ended));
  t.deepEqual([...codes].sort(), ["cancelled", "overloaded"]);
  t.is(admission.active + admission.queued, 0);
});
