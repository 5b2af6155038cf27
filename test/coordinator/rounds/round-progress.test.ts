// How far a campaign is, as whoever watches it is told.
import test from "ava";
import { panelOf } from "../../../coordinator/cli/round-panel.ts";
import {
  type CampaignState,
  campaignSchema,
  type EdgeRound,
  type RegionRound,
  type RoundState,
} from "../../../coordinator/rounds/campaign-state.ts";
import { ruleDefaults, trainDefaults } from "../../../coordinator/rounds/params.ts";
import { progressOfCampaign } from "../../../coordinator/rounds/round-progress.ts";
import { summarize } from "../../../coordinator/rounds/round-summary.ts";

const START_MS = 1_000_000;
const artifact = { sha256: "a".repeat(64), bytes: 10, name: "file" };

function edge(name: string, bucket: EdgeRound["bucket"], change: Partial<EdgeRound> = {}) {
  const numbers = { examples: 0, deltaBytes: 0, norm: 0, lossBefore: 0, lossAfter: 0, loss: 0 };
  const upload = { receivedBytes: 0, totalBytes: 0 };
  return { edge: name, bucket, reason: "", ...numbers, step: 0, steps: 0, ...upload, ...change };
}

function region(name: string, edges: EdgeRound[], change: Partial<RegionRound> = {}): RegionRound {
  return { region: name, phase: "open", reason: "", goal: 0, edges, partial: null, ...change };
}

function campaign(regions: RegionRound[], change: Partial<RoundState> = {}): CampaignState {
  const round = {
    ...{ number: 1, phase: "training", reason: "", startedMs: START_MS, endedMs: null },
    ...{ deadlineMs: START_MS + 300_000, regions, version: null, training: null },
    ...{ evaluations: [], stragglers: null, clip: null },
    ...change,
  };
  return campaignSchema.parse({
    ...{ id: "demo-1", model: "demo", createdMs: START_MS, endedMs: null, rounds: 4 },
    ...{ regions: regions.map(({ region }) => region), params: trainDefaults, rules: ruleDefaults },
    ...{ replay: null, heldout: artifact, phase: "running", reason: "", startVersion: "demo@1" },
    good: { version: "demo@1", training: null },
    ...{ baseline: [], latest: null, rejections: 0, abandonedInRow: 0, clip: null },
    ...{ round, last: null, past: [] },
  });
}

const at = (seconds: number) => START_MS + seconds * 1000;
const busy = campaign([
  region("eu", [
    edge("eu-1", "included", { examples: 30, deltaBytes: 2_000, lossBefore: 3, lossAfter: 1 }),
    edge("eu-2", "training", { step: 20, steps: 40, loss: 2 }),
  ]),
  region("us", [
    edge("us-1", "included", { examples: 10, deltaBytes: 1_000, lossBefore: 1, lossAfter: 1 }),
    edge("us-2", "training", { step: 10, steps: 40, loss: 4, receivedBytes: 0 }),
    edge("us-3", "failed"),
  ]),
]);

test("edges are counted by bucket, bytes and losses are summed up", (t) => {
  const { round } = progressOfCampaign(busy, at(10));
  t.like(round, {
    ...{ deltaBytes: 3_000, lossBefore: 2.5, lossAfter: 1, loss: 3, elapsedMs: 10_000 },
    leftMs: 290_000,
  });
  t.deepEqual(round?.buckets, {
    ...{ training: 2, included: 2, late: 0, failed: 1, quarantined: 0, declined: 0 },
  });
  t.is(round?.stepShare, (1 + 0.5 + 1 + 0.25 + 1) / 5);
  t.deepEqual(
    round?.regions.map(({ region, deltaBytes, loss }) => [region, deltaBytes, loss]),
    [
      ["eu", 2_000, 2],
      ["us", 1_000, 4],
    ],
  );
});

test("the slowest edge that is wanted says how long it takes, never past the deadline", (t) => {
  const etaOf = (state: CampaignState, seconds: number) =>
    progressOfCampaign(state, at(seconds)).round?.etaMs;
  t.is(etaOf(busy, 10), 30_000, "us-2: 10 steps in 10 s, 30 to go");
  t.is(etaOf(busy, 120), 180_000, "cut at the deadline");
  const one = (step: number) => edge(`e-${step}`, "training", { step, steps: 10 });
  t.is(etaOf(campaign([region("us", [one(5), one(2), one(1)], { goal: 2 })]), 10), 40_000);
  t.is(etaOf(campaign([region("us", [one(5), one(0)])]), 10), null, "one has not begun");
  t.is(etaOf(campaign([region("us", [one(5)])], { phase: "merging" }), 10), null);
});

test("the rounds before say how long those to come take", (t) => {
  const ended = summarize({ ...busy.round!, endedMs: at(60), phase: "promoted" });
  const second = { ...busy, past: [ended], round: { ...busy.round!, number: 2 } };
  const { etaMs, roundsDone, roundsPromoted } = progressOfCampaign(second, at(20));
  t.deepEqual([etaMs, roundsDone, roundsPromoted], [40_000 + 2 * 60_000, 1, 1]);
  t.is(progressOfCampaign(busy, at(20)).etaMs, null, "the first round has none before it");
  t.is(progressOfCampaign({ ...busy, phase: "stopped" }, at(20)).etaMs, 0);
});

test("a terminal is shown each region, and a log one line for whatever comes to an end", (t) => {
  const view = { ...busy, progress: progressOfCampaign(busy, at(10)) };
  const { text, details, milestone } = panelOf(view);
  t.is(
    text,
    "round 1 of 4: training; 2 training, 2 included, 1 failed (75 % of the steps); 3.0 KB; " +
      "loss 2.500 → 1.000; about 30 s left, at most 4 min 50 s left",
  );
  t.deepEqual(
    details.map((line) => line.split(/ {2,}/).slice(0, 5)),
    [
      ["REGION", "STATE", "GOAL", "TRAINING", "INCLUDED"],
      ["eu", "open", "all", "1", "1"],
      ["us", "open", "all", "1", "1"],
    ],
  );
  const later = campaign([
    busy.round!.regions[0]!,
    region("us", [edge("us-2", "included"), ...busy.round!.regions[1]!.edges.slice(2)]),
  ]);
  const next = panelOf({ ...later, progress: progressOfCampaign(later, at(11)) });
  const further = campaign([
    busy.round!.regions[0]!,
    region("us", [edge("us-4", "late"), ...busy.round!.regions[1]!.edges]),
  ]);
  const last = panelOf({ ...further, progress: progressOfCampaign(further, at(12)) });
  t.deepEqual(
    [milestone, next.milestone, last.milestone],
    ["1 training 3", "1 training 3", "1 training 4"],
  );
  const measuring = { ...busy, phase: "measuring" as const, progress: view.progress };
  t.is(panelOf(measuring).text, "measuring demo@1 before the first round");
});
