// Whole campaigns in which no edge's own change leaves it: noised by the edge, or masked so that
// the region learns the sum alone, with an edge that drops out once masks are agreed. Every port
// of a real mesh is listened in on meanwhile.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fromBinary } from "@bufbuild/protobuf";
import test, { type ExecutionContext } from "ava";
import type { VersionRecord } from "../../coordinator/catalogue/model-record.ts";
import { CoordinatorClient } from "../../coordinator/cli/coordinator-client.ts";
import type { CampaignState, RoundState } from "../../coordinator/rounds/campaign-state.ts";
import { readExamples } from "../../edge-node/training/example-file.ts";
import { MaskSecretsSchema } from "../../proto/gen/isthmus/v1/secagg_pb.ts";
import { isAgreed } from "../../sync/secagg/masking-party.ts";
import { eventually } from "../support/eventually.ts";
import { type NumberLeak, numberLeaksIn } from "../support/number-traces.ts";
import { leaksIn } from "../support/text-traces.ts";
import { tapWires, type WireTaps } from "../support/wire-tap.ts";
import { keptTraining, stuckFile } from "./kept-trainer.ts";
import { startTestMesh, type TestMesh } from "./test-mesh.ts";

const MODEL = "commands";
const EDGES = ["us-1", "us-2", "us-3", "us-4"];
const DROPS_OUT = "us-4";
const DEADLINE_MS = 400_000;
/** Of each edge's file; searching for all would take longer than the rounds. */
const FILED = 10;
/** How a masked number stands in the ring before its mask is added, as the round's offer has it. */
const RING = { range: 8, members: EDGES.length };

/** The way is what is tested, not how good the version is. */
const order = {
  model: MODEL,
  rounds: 1,
  params: { steps: 2 },
  rules: { examplesMax: 4 },
  pace: { deadlineMs: 400_000 },
  gate: {
    ...{ marginPoints: 100, privateMarginPoints: 100 },
    ...{ waves: [1], holdMs: 0, quietMs: 0, watchMs: 0 },
  },
};

const folder = mkdtempSync(join(tmpdir(), "isthmus-kept-"));
let mesh: TestMesh;
let taps: WireTaps;
let coordinator: CoordinatorClient;

test.before(async (t) => {
  t.timeout(240_000);
  const trainer = join(import.meta.dirname, "kept-trainer.ts");
  const command = [process.execPath, trainer, folder];
  mesh = await startTestMesh({
    regions: ["us"],
    edges: EDGES.length,
    overrides: { edge: { training: { command } } },
    wire: async (shape) => {
      taps = await tapWires(shape);
      return taps.via;
    },
  });
  coordinator = new CoordinatorClient(mesh.http("coordinator"), new AbortController().signal);
});

test.after.always(async () => {
  await mesh?.[Symbol.asyncDispose]();
  await taps?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

interface Ended {
  readonly campaign: CampaignState;
  readonly round: RoundState;
  /** `<region>/<edge>` whose changes the version is made of. */
  readonly contributors: readonly string[];
}

async function follow(begun: CampaignState): Promise<Ended> {
  let campaign = begun;
  const path = `/v1/campaigns/${begun.id}`;
  for await (const state of coordinator.follow<CampaignState>(`${path}/events`)) campaign = state;
  if (campaign.past.length === 0) throw new Error(`no round was run: ${campaign.reason}`);
  const round = await coordinator.get<RoundState>(`${path}/rounds/1`);
  const { lineage } = await coordinator.get<{ lineage: VersionRecord[] }>(`/v1/models/${MODEL}`);
  const origin = lineage.find(({ version }) => version === round.version)?.origin;
  return { campaign, round, contributors: origin?.kind === "round" ? origin.contributors : [] };
}

const start = (more: object) => {
  return coordinator.post<CampaignState>("/v1/campaigns", { ...order, ...more });
};

/** What the ports have heard of what these edges learned in a campaign's round. */
function heardOf({ campaign }: Ended, edges: readonly string[]): NumberLeak[] {
  const streams = taps.heard();
  return edges.flatMap((edge) => {
    const { pairs } = keptTraining(folder, edge, `${campaign.id}.1`);
    return numberLeaksIn(streams, pairs, RING);
  });
}

/** Private examples of every edge, in any form, in anything that was heard. */
function examplesHeard() {
  const edges = mesh.handle.layout.regions.flatMap((region) => region.edges);
  const texts = edges.flatMap(({ dir }) => {
    const path = join(dir, "private", `${MODEL}-media-train.jsonl`);
    return readExamples(path)
      .slice(0, FILED)
      .flatMap(({ prompt, completion }) => [prompt, completion]);
  });
  return leaksIn(
    taps.heard(),
    [...new Set(texts)].map((text) => ({ text, ids: [] })),
  );
}

async function serves(t: ExecutionContext, version: string): Promise<void> {
  const body = {
    model: MODEL,
    max_tokens: 2,
    messages: [{ role: "user", content: "play the next song" }],
  };
  const headers = { "content-type": "application/json" };
  const url = `${mesh.http("us")}/v1/chat/completions`;
  const served = await eventually("the gateway serves the version", async () => {
    const answer = await fetch(url, { method: "POST", headers, body: JSON.stringify(body) });
    const { system_fingerprint: by } = (await answer.json()) as { system_fingerprint: string };
    return by === version ? by : false;
  });
  t.is(served, version);
}

/** For whoever reads of a failure. */
const whyOf = ({ round }: Ended) => {
  const edges = round.regions.flatMap((region) => region.edges);
  const words = edges.map(({ edge, bucket, reason }) => `${edge} ${bucket} ${reason}`);
  return [round.reason, ...words].join("; ");
};

const bucketsOf = ({ round }: Ended) => {
  return round.regions.flatMap(({ edges }) => edges.map(({ edge, bucket }) => [edge, bucket]));
};

/** The campaigns that have run: what was heard is searched once all are over. */
const ran: Partial<Record<"bare" | "noised" | "masked", Ended>> = {};

test.serial("bare changes are handed in, and a version comes to be", async (t) => {
  t.timeout(600_000);
  ran.bare = await follow(await start({}));
  t.is(ran.bare.round.phase, "promoted", whyOf(ran.bare));
});

test.serial("with noise at the edges a version comes to be, and is paid for", async (t) => {
  t.timeout(600_000);
  const noise = { clip: 1, multiplier: 0.01, at: "edge" };
  const ended = await follow(await start({ privacy: { noise } }));
  ran.noised = ended;
  t.is(ended.round.phase, "promoted", whyOf(ended));
  t.deepEqual(
    ended.contributors,
    EDGES.map((edge) => `us/${edge}`),
  );
  await serves(t, ended.round.version!);
  const account = await coordinator.get<{ charges: { at: string; state: string }[] }>(
    `/v1/models/${MODEL}/privacy`,
  );
  t.like(account.charges.at(-1), { at: "edge", state: "spent" });
});

test.serial("masked, a version comes to be though an edge drops out after masking", async (t) => {
  t.timeout(600_000);
  writeFileSync(stuckFile(folder), DROPS_OUT);
  const pace = { ...order.pace, goal: 3, overSelection: 1.5, quorum: 3 };
  const begun = await start({ pace, privacy: { secureAggregation: true } });
  const { dir } = mesh.handle.layout.regions[0]!.edges.find(({ name }) => name === DROPS_OUT)!;
  const masks = join(dir, "learning", "masks", `${begun.id}.1.masks`);
  await eventually(
    "masks are agreed",
    () => {
      const kept = readdirSync(join(masks, "..")).some((name) => masks.endsWith(name));
      return kept && isAgreed(fromBinary(MaskSecretsSchema, readFileSync(masks)));
    },
    DEADLINE_MS,
  );
  await mesh.handle.kill(DROPS_OUT);
  const ended = await follow(begun);
  ran.masked = ended;
  t.is(ended.round.phase, "promoted", whyOf(ended));
  const there = EDGES.filter((edge) => edge !== DROPS_OUT);
  t.deepEqual(bucketsOf(ended), [...there.map((edge) => [edge, "included"]), [DROPS_OUT, "late"]]);
  t.deepEqual(
    ended.contributors,
    there.map((edge) => `us/${edge}`),
  );
  await serves(t, ended.round.version!);
});

test.serial("a bare change is heard on its way to the region: so the search finds one", (t) => {
  for (const edge of EDGES) {
    const leaks = heardOf(ran.bare!, [edge]).filter(({ form }) => form === "change");
    t.true(leaks.length > 0, `${edge} hands its change in`);
    t.deepEqual([...new Set(leaks.map(({ owner }) => owner))], ["region us, HTTP"]);
  }
});

test.serial("no clean change leaves an edge that adds noise, and no bare one under masks", (t) => {
  t.deepEqual(heardOf(ran.noised!, EDGES), []);
  const there = EDGES.filter((edge) => edge !== DROPS_OUT);
  t.deepEqual(heardOf(ran.masked!, there), []);
});

test.serial("in none of them any example was heard", (t) => {
  t.deepEqual(examplesHeard(), []);
});
