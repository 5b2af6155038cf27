// The known answers of robust aggregation, and that a few liars can't drag any of it away.
import test from "ava";
import fc from "fast-check";
import { seededRandom } from "../../../sync/formats/seeded-random.ts";
import {
  coordinateMedian,
  meanAroundMedian,
  trimmedMean,
} from "../../../sync/strategy/coordinate-rules.ts";
import {
  bulyanHolds,
  bulyanPicks,
  krumHolds,
  krumScores,
  multiKrum,
} from "../../../sync/strategy/krum.ts";
import { adaptiveBound, boundFactor } from "../../../sync/strategy/norm-bound.ts";
import { stalenessWeight } from "../../../sync/strategy/staleness-weight.ts";
import { TierGeometry } from "../../../sync/strategy/tier-geometry.ts";

const scalars = (...values: number[]) => values.map((value) => Float64Array.of(value));
const points = [
  [0, 0],
  [0.1, 0],
  [0, 0.1],
  [0.1, 0.1],
  [0.05, 0.05],
  [5, 5],
  [-4, 6],
].map((point) => Float64Array.from(point));

test("a norm bound scales down to C what is longer, and nothing else", (t) => {
  t.is(boundFactor(10, 2.5), 0.25);
  t.is(boundFactor(2.5, 2.5), 1);
  t.is(boundFactor(1e-9, 2.5), 1);
  t.is(boundFactor(10, 0), 1);
});

test("the adaptive bound follows the median norm, the lower one of two", (t) => {
  t.is(adaptiveBound([3, 1, 2]), 4);
  t.is(adaptiveBound([1, 1000]), 2);
  t.is(adaptiveBound([]), 0);
});

test("the median of an odd count is its middle, of an even one between the two", (t) => {
  t.is(coordinateMedian(scalars(5, 1, 100))[0], 5);
  t.is(coordinateMedian(scalars(5, 1, 100, 7))[0], 6);
});

test("the trimmed mean of .5, 1, 2 and 100 at share .25 is 1.5", (t) => {
  t.is(trimmedMean(scalars(0.5, 1, 2, 100), 0.25)[0], 1.5);
  t.is(trimmedMean(scalars(0.5, 1, 2, 100), 0.2)[0], 103.5 / 4);
  t.throws(() => trimmedMean(scalars(1, 2), 0.5), { message: /leaves no delta/ });
});

test("the mean around the median takes the nearest values", (t) => {
  t.is(meanAroundMedian(scalars(0, 1, 2, 3, 100), 3)[0], 2);
  t.is(meanAroundMedian(scalars(-50, 1, 2, 2.5, 9), 2)[0], 2.25);
});

test("Krum's scores of the seven points are the known ones, and the middle one wins", (t) => {
  const scores = krumScores(TierGeometry.of(points), 2);
  const known = [0.025, 0.025, 0.025, 0.025, 0.015, 146.035, 154.235];
  for (const [i, score] of scores.entries()) t.true(Math.abs(score - known[i]!) < 1e-12);
  t.deepEqual(multiKrum(TierGeometry.of(points), 2, 1), [4]);
});

test("Multi-Krum of .2, .7, 1 with one liar gives .7; two of .2, .5, 1 average to .35", (t) => {
  const first = [0.2, 0.7, 1];
  t.is(first[multiKrum(TierGeometry.of(scalars(...first)), 1, 1)[0]!], 0.7);
  const second = [0.2, 0.5, 1];
  const kept = multiKrum(TierGeometry.of(scalars(...second)), 1, 2).map((i) => second[i]!);
  t.is(kept.reduce((sum, value) => sum + value, 0) / kept.length, 0.35);
});

test("where the proofs of Krum and Bulyan hold is known", (t) => {
  t.deepEqual([krumHolds(4, 1), krumHolds(5, 1), krumHolds(3, 0)], [false, true, true]);
  t.deepEqual([bulyanHolds(6, 1), bulyanHolds(7, 1)], [false, true]);
});

test("Bulyan never averages both liars of a far pair beyond the honest range", (t) => {
  // 11 = 4·2 + 3. Both liars agree with each other, far away in one coordinate only.
  const honest = Array.from({ length: 9 }, (_, i) => Float64Array.of(i / 10, 1 - i / 10));
  const liars = [0, 0.01].map((shift) => Float64Array.of(0.4 + shift, 40));
  const all = [...honest, ...liars];
  const picks = bulyanPicks(TierGeometry.of(all), 2);
  t.is(picks.length, 7);
  t.is(new Set(picks).size, 7);
  const result = meanAroundMedian(
    picks.map((i) => all[i]!),
    7 - 2 * 2,
  );
  t.true(result[1]! >= 0.2 && result[1]! <= 1, `${result[1]}`);
});

test("one liar of seven moves no robust rule out of the honest range", (t) => {
  const numbers = fc.double({ min: -1, max: 1, noNaN: true });
  const lie = fc.double({ min: -1e9, max: 1e9, noNaN: true });
  fc.assert(
    fc.property(
      fc.array(numbers, { minLength: 6, maxLength: 6 }),
      lie,
      fc.nat(6),
      (honest, liar, at) => {
        const all = scalars(...honest.slice(0, at), liar, ...honest.slice(at));
        const geometry = TierGeometry.of(all);
        const inRange = (value: number) =>
          value >= Math.min(...honest) - 1e-12 && value <= Math.max(...honest) + 1e-12;
        const picks = bulyanPicks(geometry, 1).map((i) => all[i]!);
        return (
          inRange(coordinateMedian(all)[0]!) &&
          inRange(trimmedMean(all, 0.2)[0]!) &&
          inRange(meanAroundMedian(picks, picks.length - 2)[0]!)
        );
      },
    ),
    { seed: 11, numRuns: 500 },
  );
  t.pass();
});

test("distances taken tensor by tensor are those of the whole, and don't cancel", (t) => {
  const random = seededRandom(5);
  const whole = [0, 1, 2].map(() => Float64Array.from({ length: 9 }, () => 1e8 + random.gauss()));
  const pieces = new TierGeometry(3);
  pieces.add(whole.map((vector) => vector.subarray(0, 4)));
  pieces.add(whole.map((vector) => vector.subarray(4)));
  const exact = whole[0]!.reduce((sum, value, i) => sum + (value - whole[2]![i]!) ** 2, 0);
  t.true(Math.abs(pieces.squaredDistance(2, 0) - exact) < 1e-12 * exact);
  t.is(pieces.squaredDistance(0, 2), pieces.squaredDistance(2, 0));
  t.true(Math.abs(pieces.cosine(0, 1) - 1) < 1e-12);
});

test("a stale delta counts for the root of its age", (t) => {
  t.is(stalenessWeight(0), 1);
  t.is(stalenessWeight(3), 0.5);
  t.true(Math.abs(stalenessWeight(1) - Math.SQRT1_2) < 1e-15);
});
