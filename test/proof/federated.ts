// `npm run demo:federated`: five federated rounds on a real mesh whose regions speak dialects that
// the model doesn't know, beside what averaging A and B would have given from the same deltas, and
// what training on all data in one place reaches. Prints a table, draws an SVG, exits 1 when the
// federated model is too far behind or a region has gained nothing.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import type { Evaluation, VersionRecord } from "../../coordinator/catalogue/model-record.ts";
import { CoordinatorClient } from "../../coordinator/cli/coordinator-client.ts";
import type { CampaignState } from "../../coordinator/rounds/campaign-state.ts";
import {
  type CommandSets,
  centralAdapter,
  heldOutSets,
} from "../../deploy/demo-model/central-training.ts";
import { exactMatch, openEngineLibrary } from "../../deploy/demo-model/served-model.ts";
import { writeGgufAdapter } from "../../sync/formats/gguf-adapter.ts";
import { readGguf } from "../../sync/formats/gguf-reader.ts";
import { initialAdapter } from "../../sync/formats/initial-adapter.ts";
import type { LoraAdapter } from "../../sync/formats/lora-adapter.ts";
import { followCampaign } from "../e2e/campaign.ts";
import { startTestMesh, type TestMesh } from "../e2e/test-mesh.ts";
import { adapterStateOf, averageFactorsOf } from "./averaged-factors.ts";
import { drawLearning, type LearningLine } from "./learning-picture.ts";

const MODEL = "commands";
const BASE = join(import.meta.dirname, "../../deploy/demo-model/commands-q8_0.gguf");
/** Of what central training reaches, the mean over the regions. */
const CENTRAL_SHARE_MIN = 0.9;
/** Long enough for six trainers on a machine that has other things to do. */
const ROUND_DEADLINE_MS = 3_600_000;

const help = `Usage: npm run demo:federated -- [options]

Takes about 14 minutes on two cores.

  --rounds N          (default 5)
  --steps N           of each edge in each round        (default 120)
  --learning-rate R   (default 4e-3)
  --final-rate-share X  learning rate of the last round against it (default 0.1)
  --server-rates R,...  how far each round goes towards the mean of its edges, or beyond; the last
                      for all that follow (default 1.75,1.25,1)
  --rank N            of the adapter                    (default 16)
  --batch N           (default 8)
  --svg FILE          (default federated.svg)
  --output FILE       the figures as JSON too
  --help              this text
`;
const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    steps: { type: "string", default: "120" },
    "learning-rate": { type: "string", default: "4e-3" },
    "final-rate-share": { type: "string", default: "0.1" },
    "server-rates": { type: "string", default: "1.75,1.25,1" },
    rank: { type: "string", default: "16" },
    batch: { type: "string", default: "8" },
    svg: { type: "string", default: "federated.svg" },
    output: { type: "string" },
    help: { type: "boolean", default: false },
  },
});
const say = (line: string): void => void process.stdout.write(`${line}\n`);
if (values.help) {
  say(help);
  process.exit(0);
}
const rounds = Number(values.rounds);
const steps = Number(values.steps);
const serverRates = values["server-rates"].split(",").map(Number);
const params = {
  steps,
  learningRate: Number(values["learning-rate"]),
  finalRateShare: Number(values["final-rate-share"]),
  rank: Number(values.rank),
  alpha: 2 * Number(values.rank),
  batch: Number(values.batch),
};
const names = Object.keys(heldOutSets()) as (keyof CommandSets)[];
const regions = names.filter((name) => name !== "home");

type Shares = Partial<Record<keyof CommandSets, number>>;

/** What a version answers exactly, by set; null where the round gave none. */
interface Course {
  readonly served: readonly (Shares | null)[];
  readonly averaged: readonly (Shares | null)[];
}

const sharesOf = (evaluations: readonly Evaluation[]): Shares =>
  Object.fromEntries(
    evaluations.map(({ dataset, exact, examples }) => [dataset, exact / examples]),
  );
const meanOf = (shares: Shares | null) =>
  shares === null
    ? null
    : regions.reduce((sum, region) => sum + (shares[region] ?? 0), 0) / regions.length;
const percent = (share: number | null | undefined) =>
  share == null ? "–" : `${(100 * share).toFixed(0)} %`;

async function runRounds(mesh: TestMesh): Promise<CampaignState> {
  const coordinator = new CoordinatorClient(mesh.http("coordinator"), new AbortController().signal);
  let told = 0;
  const order = {
    ...{ rounds, params, strategy: { lr: serverRates } },
    pace: { deadlineMs: ROUND_DEADLINE_MS },
  };
  const campaign = await followCampaign(coordinator, order, ({ past }) => {
    for (const round of past.slice(told)) {
      say(`round ${round.number} ${round.phase}: ${tableCells(sharesOf(round.evaluations))}`);
      told = round.number;
    }
  });
  if (campaign.phase !== "finished") throw new Error(`the campaign ended: ${campaign.reason}`);
  return campaign;
}

/** What averaging the factors gives of each round's deltas, evaluated as it would be served. */
async function averagedCourse(mesh: TestMesh, campaign: CampaignState, scratch: string) {
  const { layout } = mesh.handle;
  const answer = await fetch(`${mesh.http("coordinator")}/v1/models/${MODEL}`);
  const { lineage } = (await answer.json()) as { lineage: VersionRecord[] };
  const course: (Shares | null)[] = [null];
  const { rank, alpha, targets: modules, seed } = campaign.params;
  let start = initialAdapter(readGguf(BASE), { rank, alpha, modules, seed });
  for (const { number, version } of campaign.past) {
    const record = lineage.find((one) => one.version === version);
    const merged = record === undefined ? null : adapterStateOf(layout, record);
    if (merged === null) {
      course.push(null);
      continue;
    }
    const averaged = await averageFactorsOf(layout, campaign.id, number, {
      start,
      rate: serverRates[Math.min(number, serverRates.length) - 1] ?? 1,
    });
    course.push(await evaluate(averaged, join(scratch, `averaged-${number}.gguf`)));
    if (record?.verdict === "accepted") start = merged;
  }
  return course;
}

async function evaluate(adapter: LoraAdapter, path: string): Promise<Shares> {
  writeGgufAdapter(path, adapter);
  const model = { modelPath: BASE, adapterPaths: [path] };
  return await exactMatch(library, model, heldOutSets());
}

function tableCells(shares: Shares | null): string {
  return names.map((name) => `${name} ${percent(shares?.[name])}`).join(", ");
}

function linesOf({ served, averaged }: Course, central: Shares): LearningLine[] {
  const level = meanOf(central);
  return [
    ...regions.map((name) => ({
      name,
      style: "region" as const,
      shares: served.map((shares) => shares?.[name] ?? null),
    })),
    { name: "mean, served", style: "mean", shares: served.map(meanOf) },
    { name: "mean, A and B averaged", style: "averaged", shares: averaged.map(meanOf) },
    { name: "home", style: "home", shares: served.map((shares) => shares?.home ?? null) },
    { name: "trained centrally", style: "level", shares: served.map(() => level) },
  ];
}

const library = await openEngineLibrary();
const scratch = mkdtempSync(join(tmpdir(), "isthmus-federated-"));
try {
  await using mesh = await startTestMesh();
  const campaign = await runRounds(mesh);
  say("evaluating what averaging A and B would have given");
  const averaged = await averagedCourse(mesh, campaign, scratch);
  say("training on all data in one place");
  const trained = await centralAdapter({ base: BASE, folder: scratch, steps: rounds * steps * 3 });
  const central = await evaluate(trained, join(scratch, "central.gguf"));
  const before = sharesOf(campaign.baseline ?? []);
  const course = { served: [before, ...campaign.past.map(servedShares)], averaged };
  report(course, central);
} finally {
  await library.dispose();
  rmSync(scratch, { recursive: true, force: true });
}

function servedShares({ phase, evaluations }: CampaignState["past"][number]): Shares | null {
  return phase === "promoted" ? sharesOf(evaluations) : null;
}

function report(course: Course, central: Shares): void {
  say("");
  say("round    served                                                mean   A and B averaged");
  for (const [number, shares] of course.served.entries()) {
    const cells = tableCells(shares).padEnd(52);
    const averaged = percent(meanOf(course.averaged[number] ?? null));
    const label = number === 0 ? "before" : String(number);
    say(`${label.padEnd(7)}  ${cells}  ${percent(meanOf(shares)).padStart(5)}   ${averaged}`);
  }
  say(`central  ${tableCells(central).padEnd(52)}  ${percent(meanOf(central)).padStart(5)}`);
  mkdirSync(dirname(resolve(values.svg)), { recursive: true });
  const picture = drawLearning(
    "Exact match of the served model, by federated round",
    linesOf(course, central),
  );
  writeFileSync(values.svg, picture);
  say(`drawn: ${values.svg} (${picture.length} bytes)`);
  if (values.output !== undefined) {
    writeFileSync(values.output, JSON.stringify({ ...course, central }, null, 2));
  }
  const share = (meanOf(lastOf(course.served)) ?? 0) / (meanOf(central) ?? 1);
  const missed = missesOf(course, share);
  say(`the mean is ${(100 * share).toFixed(1)} % of what central training reaches`);
  for (const line of missed) say(`MISSED: ${line}`);
  if (missed.length === 0) {
    say(`met: ${100 * CENTRAL_SHARE_MIN} % of central training or more, and every region gained`);
  }
  process.exitCode = missed.length > 0 ? 1 : 0;
}

function missesOf({ served }: Course, share: number): string[] {
  const [before, after] = [served[0] ?? null, lastOf(served)];
  const missed = regions
    .filter((region) => !((after?.[region] ?? 0) > (before?.[region] ?? 0)))
    .map((region) => `${region} has gained nothing`);
  if (share < CENTRAL_SHARE_MIN) {
    missed.push(`less than ${100 * CENTRAL_SHARE_MIN} % of what central training reaches`);
  }
  return missed;
}

/** Of the last round that gave any. */
function lastOf(served: readonly (Shares | null)[]): Shares | null {
  return served.findLast((shares) => shares !== null) ?? null;
}
