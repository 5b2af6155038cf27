// When a candidate counts as worse than the incumbent.
import test from "ava";
import fc from "fast-check";
import { compareHealth, type EdgeHealth } from "../../../coordinator/rollout/health-comparison.ts";
import { noSums, type VersionSums } from "../../../coordinator/rollout/version-sums.ts";
import { liveMarginsSchema } from "../../../coordinator/rounds/plan/gate-plan.ts";

const margins = liveMarginsSchema.parse({});

/** Requests that each took so long, some of which failed. */
const served = (
  requests: number,
  given: Partial<Record<"errors" | "ttft" | "tpot", number>> = {},
) => {
  const { errors = 0, ttft = 100, tpot = 20 } = given;
  const sums = { ttftMsSum: ttft * requests, tpotMsSum: tpot * requests };
  const squares = { ttftMsSquareSum: ttft ** 2 * requests, tpotMsSquareSum: tpot ** 2 * requests };
  const counts = { requests, ttftCount: requests, tpotCount: requests };
  return { ...noSums, errors, ...sums, ...squares, ...counts };
};
const rated = (sums: VersionSums, count: number, mean: number): VersionSums => {
  return { ...sums, feedbackCount: count, feedbackSum: count * mean };
};
const row = (candidate: VersionSums, incumbent: VersionSums, edge = "us/a"): EdgeHealth => {
  return { edge, candidate, incumbent };
};
const verdict = (candidate: VersionSums, incumbent: VersionSums) => {
  return compareHealth([row(candidate, incumbent)], margins);
};

test("as good is fine, and too few requests are unsure", (t) => {
  t.is(verdict(served(30), served(100)).kind, "fine");
  t.is(verdict(served(29), served(100)).kind, "unsure");
  t.is(compareHealth([], margins).kind, "unsure");
});

test("more errors than the margin lets are worse, and the reason tells both rates", (t) => {
  t.deepEqual(verdict(served(50, { errors: 10 }), served(100, { errors: 1 })), {
    kind: "worse",
    measure: "errors",
    reason: "20.0 % of 50 requests fail, 1.0 % with the incumbent; at most 2 points more may",
  });
  t.is(verdict(served(100, { errors: 10 }), served(100, { errors: 9 })).kind, "fine");
});

test("errors are errors though nothing is known of the incumbent", (t) => {
  t.is(verdict(served(30, { errors: 15 }), noSums).kind, "worse");
});

test("one mishap among few requests condemns nobody", (t) => {
  t.is(verdict(served(30, { errors: 2 }), served(400, { errors: 8 })).kind, "fine");
  t.is(verdict(served(30, { errors: 2 }), served(400)).kind, "fine");
  t.is(verdict(served(29, { errors: 29 }), served(400)).kind, "unsure", "too few to tell");
});

test("slower first tokens, and slower tokens after them, are worse beyond ratio and slack", (t) => {
  const before = served(100);
  // 2 × 100 ms and 50 ms of slack; 2 × 20 ms and 10 ms.
  t.is(verdict(served(30, { ttft: 250 }), before).kind, "fine");
  t.like(verdict(served(30, { ttft: 251 }), before), { kind: "worse", measure: "ttft" });
  t.is(verdict(served(30, { tpot: 50 }), before).kind, "fine");
  t.like(verdict(served(30, { tpot: 51 }), before), {
    kind: "worse",
    measure: "tpot",
    reason:
      "each token takes 51 ms over 30 requests, 20 ms with the incumbent there; " +
      "at most 2 times that and 10 ms may be taken",
  });
});

test("a slow machine is held against itself, not against fast ones", (t) => {
  const fast = row(noSums, served(1000, { tpot: 5 }), "us/fast");
  const slow = row(served(50, { tpot: 60 }), served(100, { tpot: 60 }), "us/slow");
  t.is(compareHealth([fast, slow], margins).kind, "fine");
  const unknown = row(served(50, { tpot: 60 }), served(9, { tpot: 60 }), "us/slow");
  t.is(compareHealth([fast, unknown], margins).kind, "fine", "nobody knows how slow it was before");
});

test("times need samples of both", (t) => {
  t.is(verdict(served(30, { tpot: 500 }), served(29)).kind, "fine");
  t.is(verdict(served(29, { tpot: 500 }), served(100)).kind, "unsure");
});

test("lower ratings are worse beyond the margin, with ratings enough of both", (t) => {
  const [now, before] = [served(30), served(100)];
  const judge = (count: number, mean: number, known = 20) =>
    verdict(rated(now, count, mean), rated(before, known, 0.8));
  t.like(judge(10, -0.5), {
    kind: "worse",
    measure: "feedback",
    reason: "10 callers rate it -0.50, 20 the incumbent 0.80; it may be 0.3 lower",
  });
  t.is(judge(10, 0.51).kind, "fine");
  t.is(judge(9, -1).kind, "fine");
  t.is(judge(10, -1, 9).kind, "fine");
});

test("a version that is the incumbent itself under another name is condemned rarely", (t) => {
  // Both versions fail once in twenty times; 200 trials of 60 requests with a fixed seed.
  let condemned = 0;
  const fails = fc.integer({ min: 0, max: 19 }).map((n) => (n === 0 ? 1 : 0));
  const errors = fc.array(fails, { minLength: 60, maxLength: 60 });
  const trial = fc.tuple(errors, errors);
  for (const [now, before] of fc.sample(trial, { seed: 5, numRuns: 200 })) {
    const sum = (all: readonly number[]) => all.reduce<number>((total, one) => total + one, 0);
    const both = [served(60, { errors: sum(now) }), served(60, { errors: sum(before) })] as const;
    if (verdict(...both).kind === "worse") condemned += 1;
  }
  t.true(condemned <= 200 / 40, String(condemned));
});

test("more errors never turn a worse verdict into a better one", (t) => {
  const count = fc.integer({ min: 0, max: 60 });
  const law = fc.property(count, count, count, (a, b, before) => {
    const [few, many] = [Math.min(a, b), Math.max(a, b)];
    const known = served(60, { errors: before });
    const isWorse = (errors: number) => verdict(served(60, { errors }), known).kind === "worse";
    return !isWorse(few) || isWorse(many);
  });
  t.notThrows(() => fc.assert(law, { seed: 6 }));
});
