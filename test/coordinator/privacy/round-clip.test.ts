// A clip that follows the deltas' norms over the rounds of a campaign.
import test from "ava";
import {
  clipOf,
  followingClip,
  isFollowing,
  multiplierOf,
} from "../../../coordinator/privacy/round-clip.ts";
import type { CampaignState, RoundState } from "../../../coordinator/rounds/campaign-state.ts";
import {
  type NoisePlan,
  noisePlanSchema,
  privacyPlanSchema,
} from "../../../coordinator/rounds/plan/privacy-plan.ts";
import { seededRandom } from "../../../sync/formats/seeded-random.ts";

const planOf = (more: object = {}): NoisePlan =>
  noisePlanSchema.parse({ clip: 8, multiplier: 1, clipQuantile: 0.5, ...more });
const campaignOf = (noise: NoisePlan, clip?: number) => {
  const round = (clip === undefined ? null : { clip }) as CampaignState["round"];
  return { privacy: privacyPlanSchema.parse({ noise }), round };
};
/** A round whose edges had these norms before they were clipped. */
const roundOf = (norms: readonly number[], clip: number): Pick<RoundState, "regions"> => {
  const edges = norms.map((norm, i) => ({ edge: `us-${i}`, norm: Math.min(norm, clip) }));
  const partial = { contributors: edges.map(({ edge }) => edge) };
  return { regions: [{ region: "us", phase: "pulled", edges, partial }] } as never;
};
const silent = () => 0;

test("the clip is the plan's until it has moved", (t) => {
  t.is(clipOf(campaignOf(planOf())), 8);
  t.is(clipOf(campaignOf(planOf(), 3)), 3);
  t.is(clipOf({ privacy: privacyPlanSchema.parse({}), round: null }), null);
});

test("it falls while more deltas than its quantile lie within, and rises while fewer do", (t) => {
  const norms = Array.from({ length: 100 }, (_, i) => i + 1);
  const after = (clip: number) =>
    followingClip(campaignOf(planOf(), clip), roundOf(norms, clip), silent)!;
  // All of a hundred within: C · exp(−0.2 · (1 − 0.5)).
  t.is(after(1000), 1000 * Math.exp(-0.1));
  t.is(after(0.5), 0.5 * Math.exp(0.1));
  t.is(after(51), 51, "half of them are within, the 51st touches it");
});

test("over rounds it finds the quantile, through the noise on the count", (t) => {
  const random = seededRandom(4);
  for (const [quantile, wanted] of [
    [0.5, 5],
    [0.8, 8],
  ] as const) {
    let clip = 0.1;
    for (let round = 0; round < 80; round += 1) {
      const norms = Array.from({ length: 200 }, () => 10 * random.next());
      const campaign = campaignOf(planOf({ clipQuantile: quantile }), clip);
      clip = followingClip(campaign, roundOf(norms, clip), () => random.gauss())!;
    }
    t.true(Math.abs(clip - wanted) < 0.5, `${quantile}: ${clip}`);
  }
});

test("the deltas get more noise, for what the count's hides", (t) => {
  t.is(multiplierOf(planOf(), 100).toFixed(7), "1.0050378");
  t.is(multiplierOf(planOf({ clipQuantile: null }), 100), 1);
});

test("too few contributors leave the clip and the noise as they are", (t) => {
  t.false(isFollowing(planOf(), 10));
  t.true(isFollowing(planOf(), 11));
  t.is(multiplierOf(planOf(), 10), 1);
  const norms = Array.from({ length: 10 }, () => 1);
  t.is(followingClip(campaignOf(planOf()), roundOf(norms, 8), silent), undefined);
});
