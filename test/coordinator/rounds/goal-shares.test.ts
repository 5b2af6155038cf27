// A round's goal, split among the regions by the edges that are ready there.
import test from "ava";
import fc from "fast-check";
import { activitiesOf } from "../../../coordinator/rounds/activity.ts";
import { campaignSchema } from "../../../coordinator/rounds/campaign-state.ts";
import { step } from "../../../coordinator/rounds/campaign-step.ts";
import { goalShares } from "../../../coordinator/rounds/goal-shares.ts";
import { ruleDefaults, trainDefaults } from "../../../coordinator/rounds/params.ts";

const regions = (counts: Record<string, number>) =>
  Object.entries(counts).map(([region, ready]) => ({ region, ready }));
const shares = (goal: number, counts: Record<string, number>, round = 1) =>
  goalShares(goal, regions(counts), round).map(({ region, goal }) => `${region} ${goal}`);

test("the goal is split in proportion to the edges that are ready", (t) => {
  t.deepEqual(shares(10, { us: 6, eu: 3, ap: 1 }), ["ap 1", "eu 3", "us 6"]);
  t.deepEqual(shares(5, { us: 10, eu: 5, ap: 0 }), ["ap 0", "eu 2", "us 3"]);
  t.deepEqual(shares(6, { us: 0, eu: 0, ap: 0 }), ["ap 2", "eu 2", "us 2"]);
});

test("with more regions than deltas they take turns", (t) => {
  const turns = [1, 2, 3].map((round) => shares(2, { us: 4, eu: 4, ap: 4 }, round));
  const left = turns.map((turn) => turn.find((share) => share.endsWith(" 0")));
  t.is(new Set(left).size, 3, JSON.stringify(turns));
});

test("shares always sum up to the goal, and none is off its part by one or more", (t) => {
  const counts = fc.array(fc.integer({ min: 0, max: 50 }), { minLength: 1, maxLength: 8 });
  const law = fc.property(counts, fc.integer({ min: 1, max: 90 }), fc.nat(9), (ready, goal, n) => {
    const known = ready.map((count, i) => ({ region: `r${i}`, ready: count }));
    const total = ready.reduce((sum, count) => sum + count, 0);
    const all = goalShares(goal, known, n);
    const exact = (i: number) => (goal * (total === 0 ? 1 : ready[i]!)) / (total || ready.length);
    return (
      all.reduce((sum, share) => sum + share.goal, 0) === goal &&
      all.every((share, i) => Math.abs(share.goal - exact(i)) < 1) &&
      all.every((share, i) => total === 0 || ready[i]! > 0 || share.goal === 0)
    );
  });
  fc.assert(law, { seed: 4, numRuns: 500 });
  t.pass();
});

const artifact = { sha256: "a".repeat(64), bytes: 10, name: "file" };
const measuring = campaignSchema.parse({
  ...{ id: "demo-1", model: "demo", createdMs: 1, endedMs: null, rounds: 1 },
  ...{ regions: ["ap", "eu", "us"], params: trainDefaults, rules: ruleDefaults },
  ...{ replay: null, heldout: artifact, phase: "measuring", reason: "", startVersion: "demo@1" },
  good: { version: "demo@1", training: null },
  ...{ baseline: null, latest: null, rejections: 0, abandonedInRow: 0, clip: null },
  ...{ round: null, last: null, past: [], pace: { goal: 3, quorum: 2 } },
});

test("a round with a goal counts who is ready first, and offers only to those it needs", (t) => {
  const evaluations = [
    { dataset: "home", public: true, examples: 10, exact: 9, edges: [], counts: [] },
  ];
  const baseline = { kind: "measured", purpose: "baseline", round: 0, evaluations } as const;
  const planned = step(measuring, baseline, 1_000);
  t.is(planned.round?.phase, "planned");
  t.deepEqual(activitiesOf(planned), [{ kind: "count", round: 1 }]);
  const ready = regions({ ap: 0, eu: 2, us: 4 });
  const offered = step(planned, { kind: "counted", round: 1, ready }, 1_001);
  t.is(offered.round?.phase, "offered");
  t.deepEqual(
    offered.round?.regions.map(({ region, phase, goal, reason }) => [region, phase, goal, reason]),
    [
      ["ap", "excluded", 0, "no edge was ready for a goal of 3 deltas"],
      ["eu", "silent", 1, "has not answered"],
      ["us", "silent", 2, "has not answered"],
    ],
  );
  t.deepEqual(
    activitiesOf(offered).flatMap((one) => (one.kind === "offer" ? [one.region] : [])),
    ["eu", "us"],
  );
  t.is(step(offered, { kind: "counted", round: 1, ready }, 1_002), offered, "counted once");
});
