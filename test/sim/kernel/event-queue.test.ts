// The order of events, held to the simplest queue there is.
import test from "ava";
import fc from "fast-check";
import { EventQueue } from "./event-queue.ts";

test("events come in the order of their times, at one instant as they were pushed", (t) => {
  const times = fc.array(fc.double({ min: 0, max: 20_000, noNaN: true }), { maxLength: 300 });
  fc.assert(
    fc.property(times, fc.integer({ min: 1, max: 50 }), (drawn, grid) => {
      const queue = new EventQueue();
      const seen: number[] = [];
      const kind = queue.register((subject) => void seen.push(subject));
      const rounded = drawn.map((ms) => Math.round(ms / grid) * grid);
      for (const [at, ms] of rounded.entries()) queue.push(ms, kind, at);
      queue.runUntil(30_000);
      const order = rounded.map((ms, at) => ({ ms, at }));
      const expected = order.sort((a, b) => a.ms - b.ms || a.at - b.at).map(({ at }) => at);
      t.deepEqual(seen, expected);
      t.is(queue.pending, 0);
    }),
    { seed: 1, numRuns: 200 },
  );
});

test("an event may push others, also for its own instant, and none comes early", (t) => {
  const queue = new EventQueue();
  const seen: [number, number][] = [];
  const again = queue.register((left) => {
    seen.push([left, queue.nowMs]);
    if (left === 0) return;
    queue.push(queue.nowMs, again, 0);
    queue.push(queue.nowMs + 4200.1 * left, again, left - 1);
  });
  queue.push(1, again, 2);
  queue.runUntil(100_000);
  const expected = [
    [2, 1],
    [0, 1],
    [1, 8401.2],
    [0, 8401.2],
    [0, 12_601.3],
  ];
  t.deepEqual(
    seen.map(([left, ms]) => [left, Math.round(ms * 10) / 10]),
    expected,
  );
});

test("time stops where it is told to, and promises get their turn", (t) => {
  const queue = new EventQueue();
  queue.after(5, () => {
    queue.hasPromises = true;
  });
  const late = queue.after(20, () => t.fail("it was taken back"));
  t.false(queue.runUntil(10));
  t.is(queue.nowMs, 5);
  queue.hasPromises = false;
  t.true(queue.runUntil(10));
  t.is(queue.nowMs, 10);
  late.cancel();
  t.true(queue.runUntil(100));
});
