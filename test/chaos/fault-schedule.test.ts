// The plan of faults: repeatable, complete, within its bounds.
import test from "ava";
import fc from "fast-check";
import { type FaultKind, faultKinds, isFaultKind, planFaults } from "./fault-schedule.ts";

function firstOf(seed: number, kinds: readonly FaultKind[], count: number) {
  const plan = planFaults(seed, kinds);
  return Array.from({ length: count }, () => plan.next().value);
}

test("one seed gives one plan, another seed another", (t) => {
  t.deepEqual(firstOf(7, faultKinds, 50), firstOf(7, faultKinds, 50));
  t.notDeepEqual(firstOf(7, faultKinds, 50), firstOf(8, faultKinds, 50));
});

test("every kind has its turn before any comes twice", (t) => {
  const kinds = fc.subarray([...faultKinds], { minLength: 1 });
  fc.assert(
    fc.property(fc.nat(), kinds, (seed, wanted) => {
      const planned = firstOf(seed, wanted, 3 * wanted.length).map(({ kind }) => kind);
      for (let turn = 0; turn < 3; turn += 1) {
        const part = planned.slice(turn * wanted.length, (turn + 1) * wanted.length);
        t.deepEqual(part.toSorted(), wanted.toSorted());
      }
    }),
    { seed: 1 },
  );
});

test("draws and times stay within their bounds", (t) => {
  for (const { draw, holdMs, calmMs } of firstOf(3, faultKinds, 500)) {
    t.true(draw >= 0 && draw < 1);
    t.true(holdMs >= 2500 && holdMs <= 5000);
    t.true(calmMs >= 300 && calmMs <= 1500);
  }
});

test("only the names of kinds are kinds", (t) => {
  for (const kind of faultKinds) t.true(isFaultKind(kind));
  t.false(isFaultKind("kill"));
  t.throws(() => planFaults(1, []).next(), { message: /no kind/ });
});
