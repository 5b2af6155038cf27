// Which rounds' deltas a region may still bring in.
import test from "ava";
import type { RoundSummary } from "../../../coordinator/rounds/campaign-state.ts";
import { owedRounds } from "../../../coordinator/rounds/owed-rounds.ts";
import { privacyPlanSchema } from "../../../coordinator/rounds/plan/privacy-plan.ts";

const past = (number: number, phase: RoundSummary["phase"], without: readonly string[] = []) => {
  const excluded = without.map((region) => ({ region, reason: "said no last word in time" }));
  return { number, phase, excluded } as unknown as RoundSummary;
};
const owed = (rounds: readonly RoundSummary[], privacy: object = {}) => {
  return owedRounds({ past: [...rounds], privacy: privacyPlanSchema.parse(privacy) }, "us");
};

test("the rounds since the region's part last came are owed", (t) => {
  t.deepEqual(owed([]), []);
  t.deepEqual(owed([past(1, "promoted")]), []);
  t.deepEqual(owed([past(1, "promoted", ["us"])]), [1]);
  t.deepEqual(owed([past(1, "promoted", ["eu"])]), []);
  t.deepEqual(owed([past(1, "promoted", ["us"]), past(2, "rejected", ["us"])]), [1, 2]);
  t.deepEqual(owed([past(1, "promoted", ["us"]), past(2, "promoted")]), [], "it brought them");
});

test("an abandoned round brings nothing in, and owes nothing", (t) => {
  t.deepEqual(owed([past(1, "promoted", ["us"]), past(2, "abandoned")]), [1]);
  t.deepEqual(owed([past(1, "promoted", ["us"]), past(2, "abandoned", ["us"])]), [1]);
});

test("rounds that are too old are forgotten", (t) => {
  const all = Array.from({ length: 30 }, (_, i) => past(i + 1, "promoted", ["us"]));
  t.deepEqual(
    owed(all),
    Array.from({ length: 20 }, (_, i) => i + 11),
  );
});

test("masks and central noise owe nothing; noise at the edge hides each delta by itself", (t) => {
  const rounds = [past(1, "promoted", ["us"])];
  t.deepEqual(owed(rounds, { secureAggregation: true }), []);
  const noise = { clip: 1, multiplier: 1 };
  t.deepEqual(owed(rounds, { noise }), []);
  t.deepEqual(owed(rounds, { noise: { ...noise, at: "edge" } }), [1]);
});
