// What a campaign tells the regions: one offer for one round, and a falling learning rate.
import test from "ava";
import { z } from "zod";
import type { VersionRecord } from "../../../coordinator/catalogue/model-record.ts";
import type { CampaignState } from "../../../coordinator/rounds/campaign-state.ts";
import { ruleDefaults, trainDefaults } from "../../../coordinator/rounds/params.ts";
import { planSections } from "../../../coordinator/rounds/plan/plan-sections.ts";
import { offerOf } from "../../../coordinator/rounds/round-messages.ts";

const base = { sha256: "a".repeat(64), bytes: 10, name: "demo.gguf" };
const version = {
  model: "demo",
  version: "demo@1",
  base,
  adapters: [],
} as unknown as VersionRecord;

interface Past {
  readonly region?: string;
  readonly refused?: number;
}

function offer(number: number, rounds: number, finalRateShare = 0.2, before: Past = {}) {
  const { region = "eu", refused = 0 } = before;
  const campaign = {
    ...{ id: "demo-1", model: "demo", rounds, replay: null, rules: ruleDefaults },
    params: { ...trainDefaults, learningRate: 0.01, finalRateShare },
    good: { version: "demo@1", training: null },
    round: { number, deadlineMs: 1, regions: [], clip: null },
    past: [
      { number: 1, phase: "promoted", excluded: [{ region: "us", reason: "late" }] },
      ...Array.from({ length: refused }, () => ({ number: 1, phase: "rejected", excluded: [] })),
    ],
    ...z.strictObject(planSections).parse({}),
  } as unknown as CampaignState;
  return offerOf(campaign, version, region);
}

const rateOf = (number: number, rounds: number, share?: number) =>
  Number(offer(number, rounds, share).params?.learningRate.toFixed(6));

test("the learning rate falls by one factor a round, to its share in the last", (t) => {
  t.deepEqual(
    [1, 2, 3, 4, 5].map((number) => rateOf(number, 5, 1 / 16)),
    [0.01, 0.005, 0.0025, 0.00125, 0.000625],
  );
  t.is(rateOf(1, 1), 0.01, "a single round trains at the full rate");
  t.is(rateOf(5, 5, 1), 0.01, "a share of 1 keeps it");
});

test("each refusal halves the learning rate of the rounds that follow", (t) => {
  const after = (refused: number) => offer(3, 5, 1, { refused }).params?.learningRate;
  t.deepEqual([0, 1, 2].map(after), [0.01, 0.005, 0.0025]);
});

test("an offer is the same each time it is told, and another round's has another seed", (t) => {
  t.deepEqual(offer(2, 5), offer(2, 5));
  t.not(offer(1, 5).params?.seed, offer(2, 5).params?.seed);
});

test("a region whose part in an earlier round never came is told to bring it in", (t) => {
  t.deepEqual(offer(2, 5, 0.2, { region: "us" }).carriedRounds, [1]);
  t.deepEqual(offer(2, 5, 0.2, { region: "eu" }).carriedRounds, []);
});
