// The gate before a candidate is served.
import test from "ava";
import fc from "fast-check";
import type { Evaluation } from "../../../coordinator/catalogue/model-record.ts";
import { type GateMargins, gate } from "../../../coordinator/rounds/gate.ts";

const set = (dataset: string, exact: number): Evaluation => {
  return { dataset, public: true, examples: 100, exact, edges: [], counts: [] };
};

/** A private set as edges counted it, each of 50 examples unless said otherwise. */
const dialect = (dataset: string, exact: Record<string, number>, examples = 50): Evaluation => {
  const counts = Object.entries(exact).map(([edge, hits]) => ({ edge, examples, exact: hits }));
  return {
    ...{ dataset, public: false, counts, edges: Object.keys(exact) },
    examples: examples * counts.length,
    exact: counts.reduce((sum, one) => sum + one.exact, 0),
  };
};

const margins: GateMargins = { marginPoints: 5, privateMarginPoints: 10, privateExamplesMin: 20 };
const passed = { passed: true, unproved: [] } as const;

test("a candidate passes exactly when it loses no more than the margin, for every outcome", (t) => {
  for (let before = 0; before <= 100; before += 1) {
    for (let after = 0; after <= 100; after += 1) {
      const verdict = gate([[set("home", before)]], [set("home", after)], margins);
      if (verdict.passed !== before - after <= 5) t.fail(`${before} → ${after}`);
    }
  }
  t.pass();
});

test("a refusal says which set loses how much", (t) => {
  const verdict = gate([[set("home", 98)]], [set("home", 90)], margins);
  t.deepEqual(verdict, {
    passed: false,
    dataset: "home",
    reason:
      "home loses 8.0 points of exact match (from 98 of 100 to 90 of 100); at most 5 may be lost",
  });
});

test("each reference must be kept: the campaign's start as well as what is served", (t) => {
  const start = [set("home", 90)];
  t.deepEqual(gate([start, []], [set("home", 86)], margins), passed);
  t.like(gate([start, [set("home", 97)]], [set("home", 86)], margins), { passed: false });
  t.like(gate([[set("home", 97)], start], [set("home", 86)], margins), { passed: false });
});

test("a public set that was not evaluated again is a refusal", (t) => {
  const before = [[set("home", 98)]];
  t.like(gate(before, [], margins), { passed: false, reason: "home was not evaluated" });
  t.like(gate(before, [dialect("home", { "us/a": 50 })], margins), { passed: false });
  t.like(gate(before, [{ ...set("home", 0), examples: 0 }], { ...margins, marginPoints: 100 }), {
    passed: false,
  });
});

test("a region's private set that loses too much is a refusal, though others gain", (t) => {
  const before = [dialect("media", { "us/a": 40, "us/b": 40, "eu/a": 10 })];
  const after = [dialect("media", { "us/a": 35, "us/b": 33, "eu/a": 50 })];
  t.deepEqual(gate([before], after, margins), {
    passed: false,
    dataset: "media of us",
    reason:
      "media of us loses 12.0 points of exact match (from 80 of 100 to 68 of 100); " +
      "at most 10 may be lost",
  });
  t.deepEqual(gate([before], after, { ...margins, privateMarginPoints: 12 }), passed);
});

test("every set that loses too much is told", (t) => {
  const before = [set("home", 98), dialect("media", { "us/a": 40 })];
  const after = [set("home", 50), dialect("media", { "us/a": 4 })];
  const verdict = gate([before], after, margins);
  t.regex(verdict.passed ? "" : verdict.reason, /^home loses 48\.0 .*; media of us loses 72\.0 /);
});

test("private sets are compared over the edges that evaluated both times", (t) => {
  const before = [dialect("media", { "us/a": 50, "us/b": 10 })];
  // Only the weak edge is there: over all edges it would look like a loss of 40 points.
  t.deepEqual(gate([before], [dialect("media", { "us/b": 10 })], margins), passed);
  t.like(gate([before], [dialect("media", { "us/a": 20 })], margins), { passed: false });
  const unproved = { passed: true, unproved: ["media of us"] };
  t.deepEqual(gate([before], [], margins), unproved);
  t.deepEqual(gate([before], [dialect("media", { "us/c": 0 })], margins), unproved);
});

test("a private set of too few examples proves nothing either way", (t) => {
  const before = [dialect("media", { "us/a": 19 }, 19)];
  const after = [dialect("media", { "us/a": 0 }, 19)];
  t.deepEqual(gate([before], after, margins), { passed: true, unproved: ["media of us"] });
  t.like(gate([before], after, { ...margins, privateExamplesMin: 19 }), { passed: false });
});

test("a wider margin never refuses what a narrower one lets pass", (t) => {
  const points = fc.integer({ min: 0, max: 100 });
  const law = fc.property(points, points, points, points, (before, after, a, b) => {
    const [narrow, wide] = [Math.min(a, b), Math.max(a, b)];
    const sets = [[[set("home", before)]], [set("home", after)]] as const;
    const verdict = (marginPoints: number) => gate(...sets, { ...margins, marginPoints });
    return !verdict(narrow).passed || verdict(wide).passed;
  });
  t.notThrows(() => fc.assert(law, { seed: 4 }));
});
