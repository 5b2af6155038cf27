// The campaign's decisions, without any of its surroundings.
import { isDeepStrictEqual } from "node:util";
import test from "ava";
import fc from "fast-check";
import type { Evaluation } from "../../../coordinator/catalogue/model-record.ts";
import { activitiesOf, activityKey } from "../../../coordinator/rounds/activity.ts";
import type { CampaignEvent } from "../../../coordinator/rounds/campaign-event.ts";
import {
  type CampaignState,
  campaignSchema,
  isOver,
  type RegionPartialRef,
} from "../../../coordinator/rounds/campaign-state.ts";
import { step } from "../../../coordinator/rounds/campaign-step.ts";
import { ruleDefaults, trainDefaults } from "../../../coordinator/rounds/params.ts";

const artifact = { sha256: "a".repeat(64), bytes: 10, name: "file" };
const training = { state: artifact, rank: 16, alpha: 32, optimizer: null };
const startMs = 1_000_000;
const lateMs = startMs + 300_000 + 15_000;

function campaignOf(rounds: number, regions = ["eu", "us"], quorum = 1): CampaignState {
  // Parsed, so that sections of the plan that a test doesn't name have their defaults.
  return campaignSchema.parse({
    ...{ id: "demo-1", model: "demo", createdMs: startMs, endedMs: null, rounds, regions },
    params: trainDefaults,
    rules: ruleDefaults,
    pace: { quorum },
    ...{ replay: null, heldout: artifact, phase: "measuring", reason: "", startVersion: "demo@1" },
    good: { version: "demo@1", training: null },
    ...{ baseline: null, latest: null, rejections: 0, abandonedInRow: 0 },
    ...{ round: null, last: null, past: [] },
  });
}

const home = (exact: number): Evaluation[] => {
  const edges = ["eu/eu-1"];
  return [{ dataset: "home", public: true, examples: 100, exact, edges, counts: [] }];
};
const edgeOf = (edge: string, bucket: "training" | "included") => {
  const numbers = { examples: 10, deltaBytes: 5, norm: 1, lossBefore: 2, lossAfter: 1 };
  const upload = { loss: 0, receivedBytes: 0, totalBytes: 0 };
  return { edge, bucket, reason: "", ...numbers, step: 1, steps: 2, ...upload };
};
const partial: RegionPartialRef = {
  ...{ artifact, weight: 10, contributors: ["x"], rank: 16, alpha: 32 },
  ...{ kind: "sum", leftOut: [] },
  http: "http://127.0.0.1:1",
};
const baseline: CampaignEvent = {
  ...{ kind: "measured", purpose: "baseline", round: 0, evaluations: home(98) },
};
const reported = (region: string, round: number, done: boolean, given = true): CampaignEvent => ({
  kind: "reported",
  report: {
    ...{ region, round, done, reason: given ? "" : "nobody was ready" },
    edges: [edgeOf(`${region}-1`, done ? "included" : "training")],
    partial: done && given ? partial : null,
  },
});
const pulled = (region: string, round: number): CampaignEvent => ({
  kind: "pulled",
  round,
  region,
});
const merged = (round: number): CampaignEvent => {
  return { kind: "merged", round, version: `demo@${round + 1}`, training };
};
const measured = (purpose: "candidate" | "served", round: number, exact = 98): CampaignEvent => {
  const evaluations = purpose === "candidate" ? home(exact) : [];
  return { kind: "measured", purpose, round, evaluations };
};
const rolledOut = (round: number): CampaignEvent => ({ kind: "rolled-out", round, stragglers: [] });

const play = (campaign: CampaignState, events: readonly CampaignEvent[], nowMs = startMs) =>
  events.reduce((state, event) => step(state, event, nowMs), campaign);

const wholeRound = (round: number): CampaignEvent[] => [
  ...["eu", "us"].map((region) => reported(region, round, false)),
  ...["eu", "us"].flatMap((region) => [reported(region, round, true), pulled(region, round)]),
  merged(round),
  measured("candidate", round),
  rolledOut(round),
  measured("served", round),
];

const kindsOf = (campaign: CampaignState) => activitiesOf(campaign).map(activityKey);

test("each event moves the round to the next phase, and asks for that phase's work", (t) => {
  let campaign = campaignOf(2);
  const seen: unknown[] = [[campaign.phase, kindsOf(campaign)]];
  for (const event of [baseline, ...wholeRound(1)]) {
    campaign = step(campaign, event, startMs);
    seen.push([campaign.round?.phase, kindsOf(campaign)]);
  }
  const offers = ["wake/1", "offer/1/eu", "offer/1/us"];
  t.deepEqual(seen, [
    ["measuring", ["measure/0/baseline"]],
    ["offered", offers],
    ["training", offers],
    ["training", offers],
    ["training", ["wake/1", "offer/1/us", "pull/1/eu"]],
    ["training", ["wake/1", "offer/1/us"]],
    ["collecting", ["pull/1/us"]],
    ["merging", ["merge/1"]],
    ["evaluating", ["measure/1/candidate"]],
    ["canary", ["roll-out/1"]],
    ["canary", ["measure/1/served"]],
    ["offered", ["wake/2", "offer/2/eu", "offer/2/us"]],
  ]);
  t.like(campaign.good, { version: "demo@2", training });
  t.is(play(campaign, wholeRound(2)).phase, "finished");
});

test("every event told twice changes nothing the second time", (t) => {
  let campaign = campaignOf(1);
  for (const event of [baseline, ...wholeRound(1)]) {
    campaign = step(campaign, event, startMs);
    t.is(step(campaign, event, startMs), campaign, event.kind);
  }
});

test("at the deadline the silent are left out, and every edge has an end", (t) => {
  const training = play(campaignOf(1), [baseline, reported("eu", 1, false)]);
  t.is(step(training, { kind: "tick" }, lateMs - 1), training);
  const done = step(training, { kind: "tick" }, lateMs);
  t.is(done.phase, "finished");
  t.like(done.past[0], { phase: "abandoned", buckets: { late: 1 } });
  t.deepEqual(done.past[0]!.excluded, [
    { region: "eu", reason: "said no last word in time" },
    { region: "us", reason: "did not answer" },
  ]);
});

test("a round goes on with the regions that came, if they make the quorum", (t) => {
  const events = [baseline, reported("eu", 1, true), pulled("eu", 1)];
  const enough = step(play(campaignOf(1), events), { kind: "tick" }, lateMs);
  t.is(enough.round?.phase, "merging");
  const tooFew = step(play(campaignOf(1, ["eu", "us"], 2), events), { kind: "tick" }, lateMs);
  t.regex(tooFew.past[0]!.reason, /^1 of at least 2 edges contributed \(us: did not answer\)$/);
});

test("a partial that can't be pulled leaves its region out", (t) => {
  const events: CampaignEvent[] = [
    ...[baseline, reported("eu", 1, true), pulled("eu", 1), reported("us", 1, true)],
    { kind: "pull-failed", round: 1, region: "us", reason: "gone" },
  ];
  const { round } = play(campaignOf(1), events);
  t.is(round!.phase, "merging");
  t.like(round!.regions[1], { phase: "excluded", reason: "gone" });
  t.is(round!.regions[1]!.edges[0]!.bucket, "failed");
});

test("a rejected round keeps the last good adapter, and three in a row end the campaign", (t) => {
  const bad = (round: number) => {
    return wholeRound(round)
      .slice(0, -3)
      .concat(measured("candidate", round, 80));
  };
  const once = play(campaignOf(9), [baseline, ...wholeRound(1), ...bad(2)]);
  t.is(once.round?.number, 3);
  t.is(once.good.version, "demo@2");
  t.is(once.past[1]!.phase, "rejected");
  const twice = play(once, bad(3));
  t.is(twice.phase, "running");
  const thrice = play(twice, bad(4));
  t.is(thrice.phase, "stopped");
  const reason = /^3 rounds in a row were refused: home loses 18\.0 points .*from 98 of 100 to 80/;
  t.regex(thrice.reason, reason);
  t.is(play(twice, [...wholeRound(4), ...bad(5), ...bad(6)]).phase, "running", "in a row");
  const strict = { ...campaignOf(9), gate: { ...campaignOf(9).gate, refusalsMax: 1 } };
  t.is(play(strict, [baseline, ...bad(1)]).phase, "stopped");
});

test("a clip that a merge has moved is the next round's, whatever becomes of this one", (t) => {
  const upToMerge = wholeRound(1).slice(0, -4);
  const moved = { ...merged(1), clip: 0.7 } as CampaignEvent;
  const state = play(campaignOf(9), [baseline, ...upToMerge, moved]);
  t.is(state.round?.phase, "evaluating");
  t.is(state.round?.clip, null, "this round's stays");
  const next = play(state, [measured("candidate", 1, 80)]);
  t.like(next.round, { number: 2, clip: 0.7 });
});

test("three rounds in a row without a result end the campaign", (t) => {
  const failed = (round: number): CampaignEvent => ({ kind: "round-failed", round, reason: "x" });
  const twice = play(campaignOf(9), [baseline, failed(1), failed(2)]);
  t.is(twice.round?.number, 3);
  t.is(play(twice, [failed(3)]).phase, "stopped");
  t.is(play(twice, [...wholeRound(3), failed(4), failed(5)]).phase, "running");
});

test("without a baseline nothing is trained", (t) => {
  const failed = { ...baseline, failed: "no edge is ready" } as CampaignEvent;
  t.like(step(campaignOf(1), failed, startMs), { phase: "stopped", reason: "no edge is ready" });
});

test("whatever happens in whatever order, a campaign keeps its promises", (t) => {
  const round = fc.integer({ min: 0, max: 4 });
  const region = fc.constantFrom("eu", "us", "xx");
  const text = fc.constantFrom("why");
  const event: fc.Arbitrary<CampaignEvent> = fc.oneof(
    { weight: 1, arbitrary: fc.constant<CampaignEvent>({ kind: "tick" }) },
    { weight: 2, arbitrary: fc.constant(baseline) },
    {
      weight: 6,
      arbitrary: fc.tuple(region, round, fc.boolean(), fc.boolean()).map((all) => reported(...all)),
    },
    { weight: 6, arbitrary: fc.tuple(region, round).map((all) => pulled(...all)) },
    { weight: 4, arbitrary: round.map(merged) },
    {
      weight: 6,
      arbitrary: fc
        .tuple(
          fc.constantFrom("candidate" as const, "served" as const),
          round,
          fc.constantFrom(98, 60),
        )
        .map((all) => measured(...all)),
    },
    { weight: 4, arbitrary: round.map(rolledOut) },
    {
      weight: 1,
      arbitrary: fc.record({ kind: fc.constant("round-failed" as const), round, reason: text }),
    },
    {
      weight: 1,
      arbitrary: fc
        .record({ round, region, reason: text })
        .map((all): CampaignEvent => ({ kind: "pull-failed", ...all })),
    },
  );
  const timed = fc.tuple(event, fc.integer({ min: 0, max: 200_000 }));
  let most = 0;
  const law = fc.property(fc.array(timed, { maxLength: 120, size: "max" }), (events) => {
    let campaign = campaignOf(3);
    let nowMs = startMs;
    for (const [happened, passedMs] of events) {
      nowMs += passedMs;
      const before = campaign;
      campaign = step(campaign, happened, nowMs);
      if (isOver(before) && campaign !== before) return false;
      if (campaign.past.length < before.past.length) return false;
    }
    most = Math.max(most, campaign.past.length);
    const keys = kindsOf(campaign);
    const rounds = campaign.past.map(({ number }) => number);
    const buckets = campaign.past.flatMap((past) => Object.keys(past.buckets));
    const promoted = campaign.past.filter(({ phase }) => phase === "promoted");
    return (
      isDeepStrictEqual(campaignSchema.parse(campaign), campaign) &&
      new Set(keys).size === keys.length &&
      isOver(campaign) === (keys.length === 0) &&
      rounds.every((number, i) => number === i + 1) &&
      campaign.past.length + (campaign.round === null ? 0 : 1) <= campaign.rounds &&
      !buckets.includes("training") &&
      campaign.good.version === (promoted.at(-1)?.version ?? "demo@1")
    );
  });
  t.notThrows(() => fc.assert(law, { seed: 8, numRuns: 1500 }));
  t.is(most, 3);
});

test("a word about another round changes nothing, in no phase", (t) => {
  let campaign = campaignOf(3);
  const others = [0, 2, 3].flatMap((round) => [
    ...wholeRound(round),
    measured("candidate", round, 0),
    { kind: "pull-failed", round, region: "eu", reason: "x" } as const,
    { kind: "round-failed", round, reason: "x" } as const,
  ]);
  for (const event of [baseline, ...wholeRound(1).slice(0, -1)]) {
    campaign = step(campaign, event, startMs);
    for (const other of others) {
      t.is(step(campaign, other, startMs), campaign, `${other.kind} in ${campaign.round?.phase}`);
    }
  }
});
