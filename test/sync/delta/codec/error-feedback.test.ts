// What top-k leaves out arrives later: nothing is lost, nothing counted twice.
import test from "ava";
import fc from "fast-check";
import { feedBack } from "../../../../sync/delta/codec/error-feedback.ts";
import { normOf, type TensorMap } from "../../../../sync/delta/tensor-map.ts";
import { formats, usualTensors } from "./codec-fixture.ts";

const seed = 20261122;
/** Sums of these are exact in f32. */
const wholeNumbers = (count: number, seedOf: number) =>
  Float32Array.from({ length: count }, (_, i) => ((i * 7919 + seedOf * 104729) % 2001) - 1000);

function tensorsOf(count: number, round: number): TensorMap {
  return new Map([["x", { shape: [count], data: wholeNumbers(count, round) }]]);
}

test("over any rounds, all that was sent and the residual are the sum of the deltas", (t) => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 300 }),
      fc.integer({ min: 1, max: 12 }),
      fc.constantFrom(0.01, 0.1, 0.4, 1),
      (count, rounds, topShare) => {
        const total = new Float32Array(count);
        const sent = new Float32Array(count);
        let residual: TensorMap | null = null;
        for (let round = 0; round < rounds; round++) {
          const delta = tensorsOf(count, round);
          const step = feedBack(delta, residual, { codec: "top-k", topShare }, 0);
          for (let i = 0; i < count; i++) {
            total[i]! += delta.get("x")!.data[i]!;
            sent[i]! += step.sent.get("x")!.data[i]!;
          }
          residual = step.residual;
        }
        const left = residual!.get("x")!.data;
        t.deepEqual(
          sent.map((x, i) => x + left[i]!),
          total,
        );
      },
    ),
    { seed, numRuns: 100 },
  );
});

test("one step conserves each number up to the rounding of one sum, for any numbers", (t) => {
  fc.assert(
    fc.property(usualTensors, (delta) => {
      const first = feedBack(delta, null, formats[3]!, 0);
      const second = feedBack(delta, first.residual, formats[3]!, 0);
      for (const [name, { data }] of delta) {
        const owed = first.residual!.get(name)!.data;
        const { data: sent } = second.sent.get(name)!;
        const { data: left } = second.residual!.get(name)!;
        t.true(data.every((x, i) => sent[i]! + left[i]! === Math.fround(x + owed[i]!)));
      }
    }),
    { seed, numRuns: 100 },
  );
});

test("with feedback every number arrives in time, without it the small ones never do", (t) => {
  const data = Float32Array.from({ length: 100 }, (_, i) => 1 + i / 100);
  const delta = new Map([["x", { shape: [100], data }]]);
  const arrivals = (isFedBack: boolean) => {
    const arrived = new Set<number>();
    let residual: TensorMap | null = null;
    for (let round = 0; round < 25; round++) {
      const step = feedBack(delta, isFedBack ? residual : null, formats[3]!, 0);
      for (const [i, x] of step.sent.get("x")!.data.entries()) if (x !== 0) arrived.add(i);
      residual = step.residual;
    }
    return arrived.size;
  };
  t.is(arrivals(false), 10);
  t.is(arrivals(true), 100);
});

test("what is owed never lifts a delta over the norm bound", (t) => {
  let residual: TensorMap | null = null;
  for (let round = 0; round < 5; round++) {
    const step = feedBack(tensorsOf(200, round), residual, formats[3]!, 50);
    t.true(normOf(step.sent) <= 50);
    residual = step.residual;
  }
});

test("the other codecs owe nothing, and a residual of another layout is dropped", (t) => {
  const delta = tensorsOf(50, 1);
  for (const format of formats.slice(0, 3)) {
    t.deepEqual(feedBack(delta, tensorsOf(50, 2), format, 0), { sent: delta, residual: null });
  }
  const fresh = feedBack(delta, null, formats[3]!, 0);
  t.deepEqual(feedBack(delta, tensorsOf(51, 2), formats[3]!, 0), fresh);
});
