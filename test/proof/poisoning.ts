// `npm run demo:poisoning`: one of six edges of a region is taken over and sends what isn't a
// number, a thousand times too much, the opposite, or what belongs to another round. With the
// default strategy the served model must stay within a point of the undisturbed one, and each
// attack must stand in the record. Exits 1 otherwise.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { VersionRecord } from "../../coordinator/catalogue/model-record.ts";
import { CoordinatorClient } from "../../coordinator/cli/coordinator-client.ts";
import { table } from "../../coordinator/cli/terminal.ts";
import type { RoundState } from "../../coordinator/rounds/campaign-state.ts";
import { makeDialectHeldOut, makeHomeHeldOut } from "../../deploy/demo-model/datasets.ts";
import { exactMatch, openEngineLibrary } from "../../deploy/demo-model/served-model.ts";
import type { Sha256 } from "../../proto/ids.ts";
import { createArtifactStore } from "../../sync/artifact/artifact-store.ts";
import { followCampaign } from "../e2e/campaign.ts";
import { startTestMesh, type TestMesh } from "../e2e/test-mesh.ts";
import { type Attack, attacks } from "./poisoned-trainer.ts";

const MODEL = "commands";
const BASE = join(import.meta.dirname, "../../deploy/demo-model/commands-q8_0.gguf");
const EDGES = 6;
const TAKEN_OVER = "us-6";
/** Points of exact match that an attack may cost, mean of both sets. */
const LOSS_POINTS_MAX = 1;
/** Prompts of each set: with both, the difference of two runs is known to about 0.3 points. */
const HELD_OUT = 1000;

const DEADLINE_MS = 1_800_000;

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "4" },
    steps: { type: "string", default: "60" },
    only: { type: "string" },
  },
});
const say = (line: string): void => void process.stdout.write(`${line}\n`);
const wanted = attacks.filter((attack) => {
  return attack === "clean" || values.only === undefined || values.only === attack;
});

interface Outcome {
  readonly exact: number;
  /** Held-out prompts that are not answered exactly. */
  readonly mistakes: ReadonlySet<string>;
  /** Where the record names the attack. */
  readonly named: readonly string[];
}

/** Has the edge train by a command that does what the mode file says. */
async function takeOver(mesh: TestMesh, modeFile: string): Promise<void> {
  const { configDir } = mesh.handle.layout;
  const path = join(configDir, `${TAKEN_OVER}.json`);
  const config = JSON.parse(readFileSync(path, "utf8")) as { training?: object };
  const trainer = join(import.meta.dirname, "poisoned-trainer.ts");
  const command = [process.execPath, trainer, modeFile];
  writeFileSync(path, JSON.stringify({ ...config, training: { ...config.training, command } }));
  await mesh.handle.kill(TAKEN_OVER);
  await mesh.revive(TAKEN_OVER);
  await mesh.sees("us", EDGES);
}

async function runUnder(mesh: TestMesh): Promise<Outcome> {
  const coordinator = new CoordinatorClient(mesh.http("coordinator"), new AbortController().signal);
  await coordinator.post(`/v1/models/${MODEL}/rollout`, { version: `${MODEL}@1` });
  const order = {
    rounds: Number(values.rounds),
    params: { steps: Number(values.steps) },
    // A machine that has other work must not make edges late: that is no attack.
    pace: { deadlineMs: DEADLINE_MS },
    // Nobody calls: there is nothing to wait for at the canary.
    gate: { waves: [1], holdMs: 0, quietMs: 0 },
  };
  const campaign = await followCampaign(coordinator, order);
  const named: string[] = [];
  for (const { number, phase, reason } of campaign.past) {
    if (phase !== "promoted") named.push(`round ${number} was ${phase}: ${reason}`);
    named.push(...(await marksOf(coordinator, campaign.id, number)));
  }
  const mistakes = await mistakesOf(mesh, coordinator, campaign.good.version);
  return { exact: 100 * (1 - mistakes.size / (2 * HELD_OUT)), mistakes, named };
}

/** What the record of a round says of the edge, when it isn't that its delta was summed. */
async function marksOf(coordinator: CoordinatorClient, campaign: string, number: number) {
  const round = await coordinator.get<RoundState>(`/v1/campaigns/${campaign}/rounds/${number}`);
  const ofEdge = round.regions.flatMap(({ edges }) => edges).filter((e) => e.edge === TAKEN_OVER);
  const buckets = ofEdge
    .filter(({ bucket }) => bucket !== "included" && bucket !== "quarantined")
    .map(({ bucket, reason }) => `round ${number}: ${bucket}, ${reason}`);
  const leftOut = round.regions
    .flatMap(({ partial }) => partial?.leftOut ?? [])
    .filter(({ edge }) => edge === TAKEN_OVER)
    .map(({ reason }) => `round ${number}: left out, ${reason}`);
  const { deltas } = await coordinator.get<{
    deltas: { edge: string; reason: string; detail: string }[];
  }>(`/v1/rounds/${campaign}/${number}/quarantine`);
  const quarantined = deltas
    .filter(({ edge }) => edge === TAKEN_OVER)
    .map(({ reason, detail }) => `round ${number}: quarantined, ${reason}: ${detail}`);
  return [...buckets, ...leftOut, ...quarantined];
}

/** Of the base domain and the region's dialect, as served. */
async function mistakesOf(mesh: TestMesh, coordinator: CoordinatorClient, version: string) {
  const path = `/v1/models/${MODEL}`;
  const { lineage } = await coordinator.get<{ lineage: VersionRecord[] }>(path);
  const record = lineage.find((one) => one.version === version);
  const dir = join(mesh.handle.layout.shape.dir, "coordinator", "artifacts");
  const store = createArtifactStore({ dir });
  const adapterPaths = (record?.adapters ?? []).map(({ artifact }) =>
    store.path(artifact.sha256 as Sha256),
  );
  const sets = { home: makeHomeHeldOut(HELD_OUT), media: makeDialectHeldOut("media", HELD_OUT) };
  const mistakes = new Set<string>();
  await exactMatch(library, { modelPath: BASE, adapterPaths }, sets, ({ prompt }) => {
    mistakes.add(prompt);
  });
  return mistakes;
}

/** Points that the second run lost, and the standard error: the same prompts were asked in both. */
function lossBetween(clean: Outcome, attacked: Outcome) {
  const newlyWrong = [...attacked.mistakes].filter((one) => !clean.mistakes.has(one)).length;
  const newlyRight = [...clean.mistakes].filter((one) => !attacked.mistakes.has(one)).length;
  const changed = newlyWrong + newlyRight;
  const net = newlyWrong - newlyRight;
  const asked = 2 * HELD_OUT;
  const error = Math.sqrt(changed - net ** 2 / asked);
  return { points: (100 * net) / asked, error: (100 * error) / asked };
}

const library = await openEngineLibrary();
const scratch = mkdtempSync(join(tmpdir(), "isthmus-poisoning-"));
const modeFile = join(scratch, "mode");
const outcomes = new Map<Attack, Outcome>();
try {
  await using mesh = await startTestMesh({ regions: ["us"], edges: EDGES });
  writeFileSync(modeFile, "clean");
  await takeOver(mesh, modeFile);
  for (const attack of wanted) {
    writeFileSync(modeFile, attack);
    const outcome = await runUnder(mesh);
    outcomes.set(attack, outcome);
    say(`${attack}: ${outcome.exact.toFixed(1)} % exact, as served`);
    for (const line of outcome.named) say(`  ${line}`);
  }
} finally {
  await library.dispose();
  rmSync(scratch, { recursive: true, force: true });
}
const clean = outcomes.get("clean")!;
const rows = [...outcomes].map(([attack, outcome]) => {
  const { points, error } = lossBetween(clean, outcome);
  const loss = attack === "clean" ? "-" : `${points.toFixed(1)} ± ${error.toFixed(1)}`;
  return [attack, outcome.exact.toFixed(1), loss, outcome.named[0] ?? "-"];
});
say(`\n${table(["attack", "exact %", "points lost", "in the record"], rows)}`);
const missed = [...outcomes].flatMap(([attack, outcome]) => {
  if (attack === "clean") return [];
  const { points } = lossBetween(clean, outcome);
  return [
    ...(points > LOSS_POINTS_MAX ? [`${attack} costs ${points.toFixed(1)} points`] : []),
    ...(outcome.named.length === 0 ? [`${attack} stands nowhere in the record`] : []),
  ];
});
for (const line of missed) say(`MISSED: ${line}`);
if (missed.length === 0) {
  say(`met: no attack costs more than ${LOSS_POINTS_MAX} point, each is in the record`);
}
process.exitCode = missed.length > 0 ? 1 : 0;
