// `npm run prove:rounds`: the whole federated campaign on a real mesh, while a caller streams.
// Every dialect starts near 0 and must end at 80 % exact match or more, and the base domain within
// 5 points of before. Prints each round; exits 1 when a target is missed.
import { writeFileSync } from "node:fs";
import { performance } from "node:perf_hooks";
import { parseArgs } from "node:util";
import type { Evaluation } from "../../coordinator/catalogue/model-record.ts";
import type { CampaignState } from "../../coordinator/rounds/campaign-state.ts";
import { runCampaign } from "../e2e/campaign.ts";
import { startTestMesh } from "../e2e/test-mesh.ts";

const DIALECT_SHARE_MIN = 0.8;
const HOME_LOSS_POINTS_MAX = 5;

const { values } = parseArgs({
  options: { rounds: { type: "string", default: "10" }, output: { type: "string" } },
});
const say = (line: string): void => void process.stdout.write(`${line}\n`);
const shareOf = ({ exact, examples }: Evaluation) => exact / Math.max(1, examples);
const percents = (evaluations: readonly Evaluation[]) =>
  evaluations.map((one) => `${one.dataset} ${(100 * shareOf(one)).toFixed(0)} %`).join(", ");

await using mesh = await startTestMesh();
const startedMs = performance.now();
const seconds = () => `${((performance.now() - startedMs) / 1000).toFixed(0)} s`;
let told = -1;
const onChange = ({ past, baseline }: CampaignState) => {
  if (baseline !== null && told < 0) {
    say(`${seconds()}  before: ${percents(baseline)}`);
    told = 0;
  }
  for (const round of past.slice(Math.max(0, told))) {
    say(`${seconds()}  round ${round.number}: ${round.phase}; ${percents(round.evaluations)}`);
    told = round.number;
  }
};
const { campaign, caller } = await runCampaign(mesh, { rounds: Number(values.rounds) }, onChange);
const [before, after] = [campaign.baseline ?? [], campaign.latest ?? []];
say(
  `${seconds()}  ${caller.streams} streams of a caller, none broken, served by ` +
    `${caller.versions.length} versions`,
);

const missed: string[] = campaign.phase === "finished" ? [] : [campaign.reason];
for (const one of after) {
  const share = shareOf(one);
  const home = before.find(({ dataset }) => dataset === one.dataset);
  if (one.public) {
    const lost = 100 * ((home === undefined ? 0 : shareOf(home)) - share);
    if (lost > HOME_LOSS_POINTS_MAX) missed.push(`${one.dataset} lost ${lost.toFixed(1)} points`);
  } else if (share < DIALECT_SHARE_MIN) {
    missed.push(`${one.dataset} ends at ${(100 * share).toFixed(0)} %`);
  }
}
if (after.length < 4) missed.push(`only ${after.length} sets were evaluated`);
for (const line of missed) say(`MISSED: ${line}`);
if (missed.length === 0) say("met: every dialect at 80 % or more, the base domain kept");
if (values.output !== undefined) {
  writeFileSync(values.output, JSON.stringify({ campaign, caller }, null, 2));
}
process.exitCode = missed.length > 0 ? 1 : 0;
