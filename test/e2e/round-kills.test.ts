// kill -9 of the coordinator, a region and an edge in every phase of real rounds: each round goes
// on or is abandoned with its reason, and what edges were told is what is counted.
import test, { type ExecutionContext } from "ava";
import { CoordinatorClient } from "../../coordinator/cli/coordinator-client.ts";
import {
  type CampaignState,
  isOver,
  type RoundPhase,
} from "../../coordinator/rounds/campaign-state.ts";
import { asFault } from "../../proto/fault.ts";
import { eventually } from "../support/eventually.ts";
import { discrepancies, haveAllEnded } from "./round-ledger.ts";
import { startTestMesh, type TestMesh } from "./test-mesh.ts";

/** When the victim is killed, in each round: at the phase, or at the first one seen after it. */
const kills: readonly (readonly RoundPhase[])[] = [
  ["offered", "collecting"],
  ["training", "evaluating"],
  ["merging", "canary"],
];
const phases: readonly RoundPhase[] = [
  ...(["planned", "offered", "training", "collecting", "merging"] as const),
  ...(["evaluating", "canary", "promoted"] as const),
];
const CAMPAIGN_MAX_MS = 270_000;

/** The rounds are what is tested, not how good their versions are. */
const order = {
  model: "commands",
  rounds: kills.length,
  params: { steps: 2 },
  rules: { examplesMax: 2 },
  pace: { quorum: 1, deadlineMs: 120_000 },
  gate: {
    ...{ marginPoints: 100, privateMarginPoints: 100 },
    ...{ waves: [1], holdMs: 0, patienceMs: 0, watchMs: 0 },
  },
};

let mesh: TestMesh;

test.before(async (t) => {
  t.timeout(200_000);
  mesh = await startTestMesh({ regions: ["us", "eu"], edges: 1 });
});

test.after.always(async () => {
  await mesh?.[Symbol.asyncDispose]();
});

interface Killing {
  readonly campaign: CampaignState;
  /** `<round> <phase>` at each kill. */
  readonly killedAt: readonly string[];
}

async function runWithKills(victim: string): Promise<Killing> {
  const signal = AbortSignal.timeout(CAMPAIGN_MAX_MS);
  const client = new CoordinatorClient(mesh.http("coordinator"), signal);
  const { id } = await client.post<CampaignState>("/v1/campaigns", order);
  const startMs = performance.now();
  const killedAt: string[] = [];
  let campaign: CampaignState | undefined;
  /** Kills that are still to come, by round. */
  const due = kills.map((phases) => [...phases]);
  const isDue = ({ round }: CampaignState): boolean => {
    const next = round === null ? undefined : due[round.number - 1]?.[0];
    return next !== undefined && phases.indexOf(round!.phase) >= phases.indexOf(next);
  };
  while (campaign === undefined || !isOver(campaign)) {
    try {
      for await (const state of client.follow<CampaignState>(`/v1/campaigns/${id}/events`)) {
        campaign = state;
        if (!isDue(state)) continue;
        await mesh.handle.kill(victim);
        const seconds = Math.round((performance.now() - startMs) / 1000);
        killedAt.push(`${state.round!.number} ${state.round!.phase} (${seconds} s)`);
        due[state.round!.number - 1]!.shift();
        await mesh.revive(victim);
      }
    } catch (thrown) {
      // The coordinator was the victim: it is there again, and so are we.
      if (!signal.aborted && asFault(thrown).retriable) continue;
      const seen = JSON.stringify(campaign?.round ?? campaign?.phase);
      throw new Error(`killed at ${killedAt.join(", ")}; then ${seen}`, { cause: thrown });
    }
  }
  return { campaign, killedAt };
}

async function survives(t: ExecutionContext, victim: string): Promise<void> {
  t.timeout(CAMPAIGN_MAX_MS + 20_000);
  const { campaign, killedAt } = await runWithKills(victim);
  t.log(`${victim} was killed at ${killedAt.join(", ")}`);
  t.log(campaign.past.map(({ phase, reason }) => `${phase} ${reason}`.trim()).join("; "));
  t.is(campaign.past.length, kills.length);
  t.is(killedAt.length, kills.flat().length, "it was killed in every phase");
  await eventually("every edge has its last word", () => haveAllEnded(mesh, campaign));
  t.deepEqual(await discrepancies(mesh, campaign), []);
  t.true(
    campaign.past.some(({ phase }) => phase === "promoted"),
    JSON.stringify(campaign.past.map(({ phase, reason }) => [phase, reason])),
  );
}

test.serial("rounds survive their coordinator's death in every phase", async (t) => {
  await survives(t, "coordinator");
});

test.serial("rounds survive a region's death in every phase", async (t) => {
  await survives(t, "us");
});

test.serial("rounds survive an edge's death in every phase", async (t) => {
  await survives(t, "us-1");
});

interface FleetEdge {
  readonly edge: string;
  readonly models?: readonly { readonly version: string; readonly status: string }[];
}

async function runToEnd(rounds: number): Promise<CampaignState> {
  const client = new CoordinatorClient(mesh.http("coordinator"), AbortSignal.timeout(200_000));
  const { id } = await client.post<CampaignState>("/v1/campaigns", { ...order, rounds });
  let campaign: CampaignState | undefined;
  for await (const state of client.follow<CampaignState>(`/v1/campaigns/${id}/events`)) {
    campaign = state;
  }
  return campaign!;
}

test.serial("an edge that was away serves the newest version, and learns from there", async (t) => {
  t.timeout(290_000);
  await mesh.handle.kill("eu-1");
  const without = await runToEnd(2);
  t.deepEqual(
    without.past.map(({ phase, buckets }) => [phase, buckets.included]),
    [
      ["promoted", 1],
      ["promoted", 1],
    ],
  );
  await mesh.revive("eu-1");
  await eventually("it serves the newest version", async () => {
    const answer = await fetch(`${mesh.http("coordinator")}/v1/edges`);
    const { edges } = (await answer.json()) as { edges: FleetEdge[] };
    const back = edges.find(({ edge }) => edge === "eu-1");
    return back?.models?.some(({ version, status }) => {
      return version === without.good.version && status === "MODEL_STATUS_READY";
    });
  });
  const withIt = await runToEnd(1);
  t.is(withIt.startVersion, without.good.version);
  t.is(withIt.past[0]?.buckets.included, 2, "it is in the next round");
  await eventually("every edge has its last word", () => haveAllEnded(mesh, withIt));
  t.deepEqual(await discrepancies(mesh, withIt), []);
});
