// What is measured of a model's streams where their tokens pass.
import test from "ava";
import fc from "fast-check";
import { InterTokenTimes } from "../../../edge-node/serving/inter-token-times.ts";
import { StreamMeter } from "../../../edge-node/serving/stream-meter.ts";

test("a stream prefills until its first token, which is no time between tokens", (t) => {
  const meter = new StreamMeter();
  const stream = meter.begin(10, 0);
  t.is(meter.prefilling, 1);
  stream.started(100);
  t.is(meter.prefilling, 1);
  stream.tokens(1, 5000);
  t.is(meter.prefilling, 0);
  t.is(meter.interTokenP99Ms, 0);
  t.deepEqual(meter.takeWindow(), { active: 0, tpotMs: null });
  stream.tokens(1, 5020);
  t.true(meter.interTokenP99Ms >= 20 && meter.interTokenP99Ms < 24);
  stream.end();
  t.is(meter.prefilling, 0);
});

test("a window holds the mean time per token and the load it was measured at", (t) => {
  const meter = new StreamMeter();
  const [a, b] = [meter.begin(0, 0), meter.begin(0, 0)];
  for (const [nowMs, stream] of [
    [0, a],
    [0, b],
    [500, a],
    [500, b],
    [530, a],
    [550, b],
  ] as const) {
    stream.tokens(1, nowMs);
  }
  t.deepEqual(meter.takeWindow(), { active: 2, tpotMs: (500 + 30 + 50) / 3 });
  b.end();
  a.tokens(4, 630);
  t.deepEqual(meter.takeWindow(), { active: 1, tpotMs: 25 }, "four at once share their time");
  t.deepEqual(meter.takeWindow(), { active: 0, tpotMs: null });
});

test("tokens that waited for another stream's prompt are no measure of the load", (t) => {
  const meter = new StreamMeter();
  const a = meter.begin(0, 0);
  a.tokens(1, 0);
  a.tokens(1, 20);
  const b = meter.begin(0, 0);
  a.tokens(1, 400);
  a.tokens(1, 800);
  b.tokens(1, 800);
  a.tokens(1, 1200);
  a.tokens(1, 1230);
  b.tokens(1, 1230);
  t.deepEqual(meter.takeWindow(), { active: 2, tpotMs: (20 + 30 + 430) / 3 });
  const hungUp = meter.begin(0, 0);
  hungUp.end();
  a.tokens(1, 2000);
  t.is(meter.takeWindow().tpotMs, null);
  t.true(meter.interTokenP99Ms >= 770, "a caller waits all the same");
});

test("streams hold the state of their prompts and of what they have said", (t) => {
  const meter = new StreamMeter();
  const resumed = meter.begin(100, 7);
  resumed.started(50);
  resumed.tokens(3, 0);
  const other = meter.begin(100, 0);
  other.started(10);
  t.is(meter.heldTokens, 70);
  resumed.end();
  t.is(meter.heldTokens, 10);
});

test("quantiles of the sketch are at most a sixth above the truth", (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: 0.2, max: 60_000, noNaN: true }), { minLength: 1, maxLength: 500 }),
      fc.constantFrom(0.5, 0.9, 0.99),
      (durations, share) => {
        const times = new InterTokenTimes();
        for (const duration of durations) times.add(duration);
        const sorted = durations.toSorted((a, b) => a - b);
        const truth = sorted[Math.ceil(share * sorted.length) - 1]!;
        const told = times.quantile(share);
        return told >= truth * 0.999 && told <= truth * 1.16;
      },
    ),
    { seed: 5, numRuns: 300 },
  );
  t.pass();
});

test("old times fade: an engine that has become faster is believed", (t) => {
  const times = new InterTokenTimes();
  for (let k = 0; k < 5000; k++) times.add(400);
  for (let k = 0; k < 40_000; k++) times.add(20);
  t.true(times.quantile(0.99) < 24);
});
