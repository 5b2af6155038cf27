// Which rounds a region forgets.
import test from "ava";
import fc from "fast-check";
import { type KeptRound, roundsToForget } from "../../../region/round/delta-retention.ts";

const bounds = { roundsMax: 3, ageMaxMs: 1_000, bytesMax: 100 };
const round = (key: string, openedMs: number, bytes = 10, taken = true): KeptRound => {
  return { key, openedMs, bytes, taken };
};

test("the oldest go first: by number, by size, and by age", (t) => {
  const four = [round("d", 4), round("b", 2), round("c", 3), round("a", 1)];
  t.deepEqual(roundsToForget(four, bounds, 10), ["a"]);
  const large = [round("a", 1, 60), round("b", 2, 60), round("c", 3, 1)];
  t.deepEqual(roundsToForget(large, bounds, 10), ["a"]);
  const old = [round("a", 1), round("b", 500)];
  t.deepEqual(roundsToForget(old, bounds, 1_001), []);
  t.deepEqual(roundsToForget(old, bounds, 1_002), ["a"]);
  t.deepEqual(roundsToForget(old, bounds, 9_000), ["a", "b"]);
});

test("what the coordinator hasn't got is kept; the rest ends up within the bounds", (t) => {
  const rounds = fc.uniqueArray(
    fc.record({
      key: fc.string({ minLength: 1, maxLength: 4 }),
      openedMs: fc.integer({ min: 0, max: 2_000 }),
      bytes: fc.integer({ min: 0, max: 60 }),
      taken: fc.boolean(),
    }),
    { selector: ({ key }) => key, maxLength: 8 },
  );
  const law = fc.property(rounds, (all) => {
    const gone = new Set(roundsToForget(all, bounds, 2_000));
    const kept = all.filter(({ key }) => !gone.has(key));
    if (all.some(({ key, taken }) => gone.has(key) && !taken)) return false;
    const free = kept.filter(({ taken }) => taken);
    const bytes = kept.reduce((sum, one) => sum + one.bytes, 0);
    const isWithin = kept.length <= bounds.roundsMax && bytes <= bounds.bytesMax;
    return free.length === 0 || (isWithin && free.every(({ openedMs }) => openedMs >= 1_000));
  });
  t.notThrows(() => fc.assert(law, { seed: 3 }));
});
