// When training pauses for serving, and that it never starves.
import test from "ava";
import fc from "fast-check";
import {
  decidePause,
  type PauseRules,
  type PauseState,
  running,
} from "../../../edge-node/training/pause-schedule.ts";
import { ServingPause } from "../../../edge-node/training/serving-pause.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const rules: PauseRules = { shareMin: 0.2, turnMs: 1000, quietMs: 250 };

/** The states after each look, for looks that tell (milliseconds since the last, busy). */
function follow(looks: readonly (readonly [number, boolean])[], by = rules): PauseState[] {
  let state = running(0);
  let nowMs = 0;
  return looks.map(([passedMs, isBusy]) => {
    nowMs += passedMs;
    state = decidePause(state, { isBusy, nowMs }, by);
    return state;
  });
}

const paused = (states: readonly PauseState[]) => states.map(({ isPaused }) => isPaused);

test("a request pauses training at once, and it goes on only after a quiet moment", (t) => {
  const looks = [
    [10, false],
    [1, true],
    [100, true],
    [1, false],
    [200, false],
    [49, false],
    [1, false],
  ] as const;
  t.deepEqual(paused(follow(looks)), [false, true, true, true, true, true, false]);
});

test("a request in the quiet moment starts it anew", (t) => {
  const looks = [
    [1, true],
    [1, false],
    [200, false],
    [1, true],
    [1, false],
    [249, false],
    [1, false],
  ] as const;
  t.deepEqual(paused(follow(looks)), [true, true, true, true, true, true, false]);
});

test("under endless load training gets its turns and nothing more", (t) => {
  const states = follow(Array.from({ length: 5000 }, () => [10, true] as const));
  const ranMs = states.filter(({ isPaused }) => !isPaused).length * 10;
  t.true(Math.abs(ranMs / 50_000 - 0.2) < 0.03, `${ranMs} of 50000 ms`);
  const switches = states.filter(({ isPaused }, i) => isPaused !== states[i - 1]?.isPaused).length;
  t.true(switches < 20, `${switches} switches: turns, not stutter`);
  t.true(states[0]!.isPaused && states[400]!.isPaused && !states[510]!.isPaused);
});

test("whatever the pattern of requests, training gets its share less one turn", (t) => {
  const LOOK_MAX_MS = 100;
  const look = fc.tuple(fc.integer({ min: 1, max: LOOK_MAX_MS }), fc.boolean());
  const shares = fc.double({ min: 0.01, max: 1, noNaN: true });
  const patterns = fc.array(look, { minLength: 100, maxLength: 400 });
  const law = fc.property(patterns, shares, (looks, shareMin) => {
    const states = follow(looks, { ...rules, shareMin });
    let ranMs = 0;
    let wholeMs = 0;
    for (const [i, [passedMs]] of looks.entries()) {
      wholeMs += passedMs;
      if (!(states[i - 1]?.isPaused ?? false)) ranMs += passedMs;
    }
    return ranMs >= shareMin * wholeMs - rules.turnMs - LOOK_MAX_MS;
  });
  fc.assert(law, { seed: 7, numRuns: 200 });
  t.pass();
});

test("a share of 1 never pauses", (t) => {
  const states = follow(
    Array.from({ length: 50 }, () => [100, true] as const),
    { ...rules, shareMin: 1 },
  );
  t.false(states.some(({ isPaused }) => isPaused));
});

test("what the admission says is done to the trainer, and undone when it leaves", (t) => {
  const clock = new ManualClock();
  const told: string[] = [];
  let inFlight = 0;
  const changes: boolean[] = [];
  const pausing = new ServingPause({
    inFlight: () => inFlight,
    shareMin: 0.2,
    clock,
    onChange: (isPaused) => changes.push(isPaused),
  });
  inFlight = 1;
  pausing.look();
  t.deepEqual(told, [], "nobody trains yet");
  const detach = pausing.attach({
    pause: () => told.push("pause"),
    resume: () => told.push("resume"),
  });
  t.deepEqual(told, ["pause"]);
  inFlight = 0;
  clock.advance(500);
  t.deepEqual(told, ["pause", "resume"]);
  inFlight = 2;
  pausing.look();
  t.deepEqual(told, ["pause", "resume", "pause"], "without waiting for a timer");
  t.true(pausing.isPaused);
  detach();
  t.false(pausing.isPaused);
  t.is(clock.timers, 0);
  t.deepEqual(changes, [true, false, true, false]);
});
