// What an operator does while callers stream: a federated round, a version rolled out and back. All
// by the `isthmus` command in the coordinator's container.
import { systemClock } from "../../runtime/clock.ts";
import type { FaultRecord } from "./fault-cost.ts";
import { ask } from "./mesh-view.ts";
import { containerOf, type Stage, untilMidway, untilWhole } from "./stage.ts";
import { until } from "./until.ts";

const MODEL = "commands";
/** The same model in fewer bits: another version to serve. */
const OTHER_BASE = "/opt/isthmus/deploy/demo-model/commands-q4_0.gguf";
const ROUND_MAX_MS = 900_000;
const ROLLOUT_MAX_MS = 300_000;
const WATCH_MAX_MS = 240_000;
const ROLLOUT_MAX_S = String(ROLLOUT_MAX_MS / 1000);
/** A short round, judged leniently: how well it learns is shown elsewhere. */
const ROUND_KNOBS = {
  ...{ rounds: 1, steps: 6, examples: 10, canaries: 1, patience: "5s", deadline: "5m" },
  ...{ "gate-margin": 100, "private-margin": 100 },
};

interface CampaignView {
  readonly last: { readonly phase: string; readonly reason: string } | null;
}

interface RolloutView {
  readonly rollout: {
    readonly version: string;
    readonly phase: string;
    readonly reason: string;
  } | null;
}

interface ModelView {
  readonly served: string | null;
  readonly lineage: readonly { readonly version: string }[];
}

/** One federated round over every edge: training, merging, the gate, the rollout. */
export function federatedRound(stage: Stage): Promise<FaultRecord> {
  return timed(stage, "federated round", MODEL, async () => {
    const knobs = Object.entries(ROUND_KNOBS).flatMap(([name, value]) => [
      `--${name}`,
      String(value),
    ]);
    await isthmus(stage, ["rounds", "start", MODEL, ...knobs, "--wait"], ROUND_MAX_MS);
    const listed = await isthmus(stage, ["rounds", "ls", "--json"], ROLLOUT_MAX_MS);
    const [campaign] = JSON.parse(listed) as CampaignView[];
    const last = campaign?.last;
    if (last?.phase !== "promoted")
      throw new Error(`the round was ${last?.phase}: ${last?.reason}`);
    return await watched(stage);
  });
}

/**
 * A version is watched for a while after its promotion, and taken back when it does worse with
 * callers. What comes next must not fall into that; whichever way it ends, the mesh has judged.
 */
async function watched(stage: Stage): Promise<string> {
  const { signal } = stage;
  const wait = { what: `the watch over ${MODEL}`, withinMs: WATCH_MAX_MS, signal };
  const { version, phase, reason } = await until(wait, async () => {
    const view = await ask<RolloutView>("coordinator", `/v1/models/${MODEL}/rollout`);
    const rollout = view?.rollout;
    if (!rollout) return "the coordinator doesn't tell";
    return rollout.phase === "promoted" || rollout.phase === "rolled-back"
      ? rollout
      : rollout.phase;
  });
  return phase === "promoted" ? `${version} proven and served` : `${version} taken back: ${reason}`;
}

/** Another version to every edge, and back to the one before. */
export function rollOutAndBack(stage: Stage): Promise<FaultRecord> {
  return timed(stage, "rolled out and back", MODEL, async () => {
    const before = await model(stage);
    await isthmus(stage, ["models", "publish", MODEL, "--file", OTHER_BASE], ROLLOUT_MAX_MS);
    const published = await model(stage);
    const version = published.lineage.at(-1)?.version ?? "";
    const number = version.split("@")[1] ?? "";
    const wait = ["--wait", "--timeout", ROLLOUT_MAX_S];
    await isthmus(stage, ["models", "rollout", MODEL, number, ...wait], ROLLOUT_MAX_MS);
    await isthmus(stage, ["models", "rollback", MODEL, ...wait], ROLLOUT_MAX_MS);
    const after = await model(stage);
    if (after.served !== before.served) {
      throw new Error(`${after.served} is served after the way back, not ${before.served}`);
    }
    return `${before.served} > ${version} > ${after.served}`;
  });
}

/** The model's versions, which must never be fewer than were acknowledged. */
export async function model(stage: Stage): Promise<ModelView> {
  return JSON.parse(await isthmus(stage, ["models", "ls", MODEL, "--json"], ROLLOUT_MAX_MS));
}

function isthmus(stage: Stage, words: readonly string[], timeoutMs: number): Promise<string> {
  const container = containerOf(stage, "coordinator");
  return stage.docker.run(["exec", container, "isthmus", ...words], { timeoutMs });
}

async function timed(
  stage: Stage,
  name: string,
  victim: string,
  act: () => Promise<string>,
): Promise<FaultRecord> {
  await untilMidway(stage, "us");
  stage.say(`${name}: ${victim}`);
  const dealtMs = systemClock.now();
  const note = await act();
  await untilWhole(stage, name);
  const wholeMs = systemClock.now();
  return { name, victim, edges: [], doorOf: null, dealtMs, noticedMs: null, wholeMs, note };
}
