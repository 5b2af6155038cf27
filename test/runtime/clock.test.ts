// The system's clock, and the manual one that tests use in its place.
import test from "ava";
import { type Clock, systemClock } from "../../runtime/clock.ts";
import { ManualClock } from "../support/manual-clock.ts";

test("manual time fires timers by due time, ties in the order they were set", (t) => {
  const clock = new ManualClock(1000);
  const fired: string[] = [];
  clock.after(20, () => fired.push(`b@${clock.now()}`));
  clock.after(10, () => fired.push(`a@${clock.now()}`));
  clock.after(20, () => fired.push(`c@${clock.now()}`));
  clock.after(21, () => fired.push("never"));
  clock.advance(20);
  t.deepEqual(fired, ["a@1010", "b@1020", "c@1020"]);
  t.is(clock.monotonicMs(), 20);
  t.is(clock.timers, 1);
});

test("manual time repeats, and a timer may set and cancel others while it fires", (t) => {
  const clock = new ManualClock();
  let ticks = 0;
  const repeating = clock.every(5, () => {
    ticks++;
    if (ticks === 3) repeating.cancel();
  });
  let nested = false;
  clock.after(1, () =>
    clock.after(1, () => {
      nested = true;
    }),
  );
  clock.advance(100);
  t.is(ticks, 3);
  t.true(nested);
  t.is(clock.timers, 0);
});

test("the system's clock fires, repeats until cancelled, and takes any delay", async (t) => {
  const clock: Clock = systemClock;
  await new Promise<void>((resolve) => void clock.after(0, resolve));
  let ticks = 0;
  await new Promise<void>((resolve) => {
    const repeating = clock.every(1, () => {
      if (++ticks < 3) return;
      repeating.cancel();
      resolve();
    });
  });
  t.is(ticks, 3);
  let early = false;
  const far = clock.after(Number.MAX_SAFE_INTEGER, () => {
    early = true;
  });
  await new Promise<void>((resolve) => void clock.after(5, resolve));
  far.cancel();
  t.false(early);
});
