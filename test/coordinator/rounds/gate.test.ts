// The gate before a candidate is served.
import test from "ava";
import fc from "fast-check";
import type { Evaluation } from "../../../coordinator/catalogue/model-record.ts";
import { gate } from "../../../coordinator/rounds/gate.ts";

const set = (dataset: string, exact: number, isPublic = true): Evaluation => {
  return { dataset, public: isPublic, examples: 100, exact, edges: [] };
};

test("a candidate passes exactly when it loses no more than the margin, for every outcome", (t) => {
  for (let before = 0; before <= 100; before += 1) {
    for (let after = 0; after <= 100; after += 1) {
      const { passed } = gate([set("home", before)], [set("home", after)], 5);
      if (passed !== before - after <= 5) t.fail(`${before} → ${after}`);
    }
  }
  t.pass();
});

test("a refusal says which set loses how much", (t) => {
  const verdict = gate([set("home", 98)], [set("home", 90)], 5);
  t.deepEqual(verdict, {
    passed: false,
    dataset: "home",
    reason: "home loses 8.0 points of exact match (from 98.0 to 90.0); at most 5 may be lost",
  });
});

test("a public set that was not evaluated again is a refusal; private ones don't count", (t) => {
  const before = [set("home", 98), set("media", 90, false)];
  t.like(gate(before, [], 5), { passed: false, reason: "home was not evaluated" });
  t.like(gate(before, [set("home", 98, false)], 5), { passed: false });
  t.like(gate(before, [{ ...set("home", 0), examples: 0 }], 100), { passed: false });
  t.deepEqual(gate(before, [set("home", 98), set("media", 0, false)], 5), { passed: true });
});

test("a wider margin never refuses what a narrower one lets pass", (t) => {
  const points = fc.integer({ min: 0, max: 100 });
  const law = fc.property(points, points, points, points, (before, after, a, b) => {
    const [narrow, wide] = [Math.min(a, b), Math.max(a, b)];
    const sets = [[set("home", before)], [set("home", after)]] as const;
    return !gate(...sets, narrow).passed || gate(...sets, wide).passed;
  });
  t.notThrows(() => fc.assert(law, { seed: 4 }));
});
