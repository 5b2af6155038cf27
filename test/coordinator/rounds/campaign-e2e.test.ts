// Whole campaigns: the coordinator as a process, real NATS, regions that speak the real protocol.
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import type { ModelRecord, VersionRecord } from "../../../coordinator/catalogue/model-record.ts";
import type { CampaignState } from "../../../coordinator/rounds/campaign-state.ts";
import { readGgufAdapter } from "../../../sync/formats/gguf-adapter.ts";
import { eventually } from "../../support/eventually.ts";
import type { CoordinatorProcess } from "../coordinator-process.ts";
import { type DemoMesh, startDemoMesh } from "../demo-mesh.ts";
import type { FakeRegionSetup } from "../fake-region.ts";

type Detail = ModelRecord & { readonly lineage: readonly VersionRecord[] };

const numberOf = (version: string) => Number(version.split("@")[1]);
/** Each version knows the dialects better; the public set costs nothing. */
const learns: FakeRegionSetup["evaluate"] = (version, isPublic) =>
  isPublic ? 98 : Math.min(100, 30 * (numberOf(version) - 1));

async function setUp(
  t: ExecutionContext,
  evaluate: FakeRegionSetup["evaluate"],
  present = ["us", "eu"],
) {
  const mesh = await startDemoMesh(t, { evaluate, present });
  const campaign = (id: string) => mesh.coordinator.get<CampaignState>(`/v1/campaigns/${id}`);
  return Object.assign(Object.create(mesh) as DemoMesh, { campaign });
}

async function start(coordinator: CoordinatorProcess, body: object): Promise<CampaignState> {
  const { status, body: campaign } = await coordinator.post("/v1/campaigns", body);
  if (status !== 201) throw new Error(JSON.stringify(campaign));
  return campaign;
}

/** Generous: machines that run tests are busy. */
const DEADLINE_MS = 90_000;
const small = { rank: 2, alpha: 4 };

test("rounds go from the offer to a served version whose lineage tells how", async (t) => {
  const mesh = await setUp(t, learns);
  const { id } = await start(mesh.coordinator, { model: "demo", rounds: 2, params: small });
  const done = await eventually(
    "both rounds are over",
    async () => {
      const campaign = await mesh.campaign(id);
      return campaign.phase === "finished" && campaign;
    },
    DEADLINE_MS,
  );
  t.deepEqual(
    done.past.map(({ phase }) => phase),
    ["promoted", "promoted"],
  );
  t.deepEqual(done.past[0]!.buckets, { included: 4 });
  t.deepEqual(done.past[0]!.stragglers, []);
  t.is(done.past[0]!.deltaBytes, 256);
  t.deepEqual(
    done.baseline!.map(({ dataset, exact }) => `${dataset} ${exact}`),
    ["home 98", "dialect-eu 0", "dialect-us 0"],
  );
  t.deepEqual(
    done.latest!.map(({ dataset, exact, examples }) => [dataset, exact, examples]),
    [
      ["home", 98, 100],
      ["dialect-eu", 120, 200],
      ["dialect-us", 120, 200],
    ],
  );
  t.true(mesh.regions.every(({ served }) => served === "demo@3"));
  const { lineage } = await mesh.coordinator.get<Detail>("/v1/models/demo");
  t.deepEqual(
    lineage.map(({ parent, verdict }) => [parent, verdict]),
    [
      [null, "accepted"],
      ["demo@1", "accepted"],
      ["demo@2", "accepted"],
    ],
  );
  const second = lineage[1]!.origin;
  t.like(second, { kind: "round", campaign: id, round: 1, weight: 40 });
  t.deepEqual(second.kind === "round" && second.contributors, [
    "eu/eu-1",
    "eu/eu-2",
    "us/us-1",
    "us/us-2",
  ]);
  // The second round starts from the first one's state, with another seed.
  const [first, next] = [1, 2].map((round) =>
    mesh.regions[0]!.offers.find((o) => o.round === round),
  );
  t.not(first!.adapterState!.sha256, next!.adapterState!.sha256);
  t.is(next!.adapterState!.sha256, lineage[1]!.training!.state.sha256);
  t.not(first!.params!.seed, next!.params!.seed);
  // Every number of every delta is 2, so two rounds make 4.
  const adapter = join(mesh.dir, "adapter.gguf");
  const { sha256 } = lineage[2]!.adapters[0]!.artifact;
  const bytes = await fetch(`${mesh.coordinator.http}/v1/artifacts/${sha256}`);
  writeFileSync(adapter, new Uint8Array(await bytes.arrayBuffer()));
  const { alpha, modules } = readGgufAdapter(adapter);
  t.is(alpha, 4);
  // A starts from what the seed makes, B from 0.
  t.true(modules.get("blk.0.attn_q.weight")!.b.every((value) => value === 4));
  await eventually("both regions may forget both rounds", () => {
    return mesh.regions.every(({ taken }) => taken.size === 2);
  });
});

test("a coordinator killed in the middle of a round takes it up again", async (t) => {
  const mesh = await setUp(t, learns);
  for (const region of mesh.regions) region.isHeld = true;
  const { id } = await start(mesh.coordinator, { model: "demo", rounds: 1, params: small });
  await eventually("the edges train", async () => {
    return (await mesh.campaign(id)).round?.phase === "training";
  });
  await mesh.coordinator.kill();
  for (const region of mesh.regions) region.release();
  await mesh.restart();
  t.is((await mesh.campaign(id)).id, id);
  const done = await eventually(
    "the round is over",
    async () => {
      const campaign = await mesh.campaign(id);
      return campaign.phase === "finished" && campaign;
    },
    DEADLINE_MS,
  );
  t.is(done.past[0]!.phase, "promoted");
  t.deepEqual(done.past[0]!.buckets, { included: 4 });
});

test("nothing answered is lost by killing coordinator and nats-server at once", async (t) => {
  const mesh = await setUp(t, learns);
  await mesh.nats.kill("central", "j");
  const other = await mesh.coordinator.upload(Buffer.from("other"), "other.gguf");
  const { status } = await mesh.coordinator.post("/v1/models", { model: "demo", base: other });
  t.is(status, 201);
  t.is((await mesh.coordinator.post("/v1/models/demo/rollout", { version: "2" })).status, 200);
  await mesh.coordinator.kill();
  await mesh.nats.restart("central", "j");
  await mesh.restart();
  const model = await mesh.coordinator.get<Detail>("/v1/models/demo");
  t.is(model.served, "demo@2");
  t.is(model.lineage.length, 2);
  await eventually("the regions hear of it", () => {
    return mesh.regions.every(({ served }) => served === "demo@2");
  });
  // Its own disk lost as well, the bucket still knows.
  await eventually("the bucket has all", async () => {
    const { recordsWaiting } = await mesh.coordinator.get<{ recordsWaiting: number }>("/v1/status");
    return recordsWaiting === 0;
  });
  await mesh.coordinator.kill();
  rmSync(join(mesh.dir, "records.log"));
  await mesh.restart();
  t.is((await mesh.coordinator.get<Detail>("/v1/models/demo")).served, "demo@2");
});

test("a round that costs the public set too much is rejected, and so is serving it", async (t) => {
  const harms: FakeRegionSetup["evaluate"] = (version, isPublic) =>
    isPublic ? (numberOf(version) === 1 ? 98 : 92) : 50;
  const mesh = await setUp(t, harms);
  const gate = { refusalsMax: 2 };
  const { id } = await start(mesh.coordinator, { model: "demo", rounds: 5, params: small, gate });
  const done = await eventually(
    "it stops by itself",
    async () => {
      const campaign = await mesh.campaign(id);
      return campaign.phase === "stopped" && campaign;
    },
    DEADLINE_MS,
  );
  t.deepEqual(
    done.past.map(({ phase }) => phase),
    ["rejected", "rejected"],
  );
  t.regex(
    done.past[0]!.reason,
    /^home loses 6\.0 points .* \(from 98 of 100 to 92 of 100\); at most 5 /,
  );
  const model = await mesh.coordinator.get<Detail>("/v1/models/demo");
  t.is(model.served, "demo@1");
  t.deepEqual(
    model.lineage.map(({ verdict }) => verdict),
    ["accepted", "rejected", "rejected"],
  );
  const refused = await mesh.coordinator.post("/v1/models/demo/rollout", { version: "2" });
  t.is(refused.status, 409);
  t.like(refused.body, { error: { code: "conflict" } });
});

test("a region that does not answer is left out by name, and the round goes on", async (t) => {
  const mesh = await setUp(t, learns, ["us"]);
  const { id } = await start(mesh.coordinator, {
    model: "demo",
    params: small,
    rules: { roundTimeoutMs: 4_000 },
  });
  const done = await eventually(
    "the round is over",
    async () => {
      const campaign = await mesh.campaign(id);
      if (campaign.phase !== "finished") throw new Error(JSON.stringify(campaign));
      return campaign;
    },
    DEADLINE_MS,
  );
  t.is(done.past[0]!.phase, "promoted");
  t.deepEqual(done.past[0]!.excluded, [{ region: "eu", reason: "did not answer" }]);
});
