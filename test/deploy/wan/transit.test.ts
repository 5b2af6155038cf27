// When bytes set out and arrive, whatever the link and whatever is sent.
import test from "ava";
import fc from "fast-check";
import type { LinkShape } from "../../../deploy/wan/link-shape.ts";
import { bytesPerMs, Journey, Lane, SEGMENT_BYTES } from "../../../deploy/wan/transit.ts";
import { seededRandom } from "../../../sync/formats/seeded-random.ts";

/** Beyond what sums of floats are off by. */
const EPSILON = 1e-6;
const lan: LinkShape = { rttMs: 0, jitterMs: 0, lossRate: 0, mbitPerS: null };

const shapes = fc.record({
  rttMs: fc.integer({ min: 0, max: 300 }),
  jitterMs: fc.integer({ min: 0, max: 50 }),
  lossRate: fc.constantFrom(0, 0.001, 0.1, 0.5),
  mbitPerS: fc.constantFrom(null, 0.5, 10, 1000),
});
/** Who sends how much, how long after the one before. */
const sendings = fc.array(
  fc.record({
    journey: fc.nat({ max: 2 }),
    afterMs: fc.constantFrom(0, 0.2, 5, 60),
    bytes: fc.integer({ min: 1, max: 65_536 }),
  }),
  { minLength: 1, maxLength: 60 },
);

/** Three connections over one lane. */
function sendAll(
  shape: LinkShape,
  plan: readonly { journey: number; afterMs: number; bytes: number }[],
  seed: number,
) {
  const lane = new Lane();
  const random = seededRandom(seed);
  const journeys = [0, 1, 2].map(() => new Journey(lane, () => random.next()));
  let nowMs = 0;
  return plan.map(({ journey, afterMs, bytes }) => {
    nowMs += afterMs;
    return { journey, nowMs, bytes, ...journeys[journey]!.send(nowMs, bytes, shape) };
  });
}

const law = (
  name: string,
  holds: (shape: LinkShape, sent: ReturnType<typeof sendAll>) => boolean,
) =>
  test(name, (t) => {
    const property = fc.property(shapes, sendings, fc.nat(), (shape, plan, seed) =>
      holds(shape, sendAll(shape, plan, seed)),
    );
    t.notThrows(() => fc.assert(property, { numRuns: 300, seed: 7 }));
  });

law("what one connection sends arrives in the order of sending", (_, sent) =>
  [0, 1, 2].every((which) => {
    const own = sent.filter(({ journey }) => journey === which);
    return own.every(({ arriveMs }, at) => arriveMs >= (own[at - 1]?.arriveMs ?? 0));
  }),
);

law(
  "nothing arrives in less than half a round trip and the time that its bytes take",
  (shape, sent) => {
    const rate = bytesPerMs(shape);
    return sent.every(({ nowMs, departMs, arriveMs, bytes }) => {
      const throughMs = rate === null ? 0 : bytes / rate;
      return departMs >= nowMs + throughMs - EPSILON && arriveMs >= departMs + shape.rttMs / 2;
    });
  },
);

law("all connections together never set out faster than the link, in any window", (shape, sent) => {
  const rate = bytesPerMs(shape);
  if (rate === null) return true;
  return sent.every((first, from) => {
    let bytes = 0;
    return sent.slice(from + 1).every((last) => {
      bytes += last.bytes;
      return bytes <= rate * (last.departMs - first.departMs) + EPSILON;
    });
  });
});

law("a lane that is free carries at once, and one with work never rests", (shape, sent) => {
  const rate = bytesPerMs(shape);
  let freeMs = 0;
  return sent.every(({ nowMs, bytes, departMs }) => {
    freeMs = Math.max(freeMs, nowMs) + (rate === null ? 0 : bytes / rate);
    return Math.abs(departMs - (rate === null ? nowMs : freeMs)) < EPSILON;
  });
});

law(
  "where nothing is lost, what isn't held up by earlier bytes takes at most the jitter",
  (shape, sent) => {
    if (shape.lossRate > 0) return true;
    const latestMs = [0, 0, 0];
    return sent.every(({ journey, departMs, arriveMs }) => {
      const allowedMs = departMs + (shape.rttMs + shape.jitterMs) / 2;
      const isOnTime = arriveMs <= Math.max(allowedMs, latestMs[journey]!) + EPSILON;
      latestMs[journey] = arriveMs;
      return isOnTime;
    });
  },
);

test("a lost segment with others behind it costs a round trip, one alone a timeout", (t) => {
  const shape = { ...lan, rttMs: 80, lossRate: 0.25 };
  /** Of a journey whose chances are these, when bytes sent at 1000 arrive. */
  const arrivalOf = (bytes: number, ...chances: number[]) => {
    const journey = new Journey(new Lane(), () => chances.shift() ?? 0.9);
    return journey.send(1000, bytes, shape).arriveMs - 1000;
  };
  const jitter = 0;
  t.is(arrivalOf(SEGMENT_BYTES, jitter, 0.7), 40, "a chance below 1 - 0.25 is no loss");
  t.is(arrivalOf(SEGMENT_BYTES, jitter, 0.8, 0), 40 + 80 + 200);
  t.is(arrivalOf(8 * SEGMENT_BYTES, jitter, 0.8, 0.99), 40 + 80, "the first of eight");
  t.is(arrivalOf(8 * SEGMENT_BYTES, jitter, 0.8, 0), 40 + 80 + 200, "the last of eight");
  t.is(arrivalOf(8 * SEGMENT_BYTES, jitter, 0.8, 0.99, 0.1), 40 + 80 + 280, "lost once more");
  t.is(arrivalOf(8 * SEGMENT_BYTES, jitter, 0.8, 0.99, 0.1, 0.1), 40 + 80 + 280 + 560);
});

test("in a stream of small pieces, those that follow tell of the lost one at their pace", (t) => {
  const shape = { ...lan, rttMs: 80, lossRate: 0.25 };
  const chances = [0, 0.7, 0, 0.8, 0];
  const journey = new Journey(new Lane(), () => chances.shift() ?? 0.9);
  journey.send(1000, 100, shape);
  t.is(journey.send(1020, 100, shape).arriveMs, 1020 + 40 + 80 + 3 * 20);
});

test("as many pieces are stalled as lose a segment by chance, and each is told", (t) => {
  const random = seededRandom(11);
  let stalls = 0;
  const journey = new Journey(
    new Lane(),
    () => random.next(),
    () => {
      stalls += 1;
    },
  );
  const pieces = 20_000;
  const shape = { ...lan, rttMs: 50, lossRate: 0.01 };
  for (let at = 0; at < pieces; at += 1) journey.send(at * 1000, 10 * SEGMENT_BYTES, shape);
  const expected = 1 - 0.99 ** 10;
  const deviation = Math.sqrt((expected * (1 - expected)) / pieces);
  t.true(Math.abs(stalls / pieces - expected) < 4 * deviation, `${stalls} of ${pieces}`);
});

test("a connection that isn't there yet holds nobody else up", (t) => {
  const lane = new Lane();
  const shape = { ...lan, rttMs: 100, mbitPerS: 8 };
  const early = new Journey(lane, () => 0);
  early.notBefore(500);
  t.is(early.send(0, 1000, shape).arriveMs, 550);
  t.is(new Journey(lane, () => 0).send(0, 1000, shape).arriveMs, 52);
});

test("what is sent anew after a restart need not wait for what was lost", (t) => {
  const lane = new Lane();
  const journey = new Journey(lane, () => 0);
  journey.send(0, 1, { ...lan, rttMs: 10_000 });
  journey.restart();
  lane.clear();
  t.is(journey.send(10, 1, { ...lan, rttMs: 20 }).arriveMs, 20);
});
