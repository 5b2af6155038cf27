// A server optimizer's memory outlives the coordinator: killed between two rounds, FedAvgM goes on
// with the momentum of the first.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import type { ModelRecord, VersionRecord } from "../../../coordinator/catalogue/model-record.ts";
import type { CampaignState } from "../../../coordinator/rounds/campaign-state.ts";
import { readGgufAdapter } from "../../../sync/formats/gguf-adapter.ts";
import { eventually } from "../../support/eventually.ts";
import { startDemoMesh } from "../demo-mesh.ts";

type Detail = ModelRecord & { readonly lineage: readonly VersionRecord[] };

const DEADLINE_MS = 90_000;

test("a killed coordinator goes on with the momentum of the round before", async (t) => {
  const mesh = await startDemoMesh(t, { evaluate: (_, isPublic) => (isPublic ? 98 : 50) });
  const { status, body } = await mesh.coordinator.post("/v1/campaigns", {
    ...{ model: "demo", rounds: 2, params: { rank: 2, alpha: 4 } },
    strategy: { server: "fedavgm", lora: "average" },
  });
  t.is(status, 201, JSON.stringify(body));
  const { id } = body as CampaignState;
  const campaign = () => mesh.coordinator.get<CampaignState>(`/v1/campaigns/${id}`);
  await eventually(
    "the first round is over",
    async () => {
      const isOver = (await campaign()).past.length === 1;
      if (isOver) for (const region of mesh.regions) region.isHeld = true;
      return isOver;
    },
    DEADLINE_MS,
  );
  await mesh.coordinator.kill();
  for (const region of mesh.regions) {
    region.isHeld = false;
    region.release();
  }
  await mesh.restart();
  await eventually(
    "both rounds are over",
    async () => (await campaign()).phase === "finished",
    DEADLINE_MS,
  );
  const { lineage } = await mesh.coordinator.get<Detail>("/v1/models/demo");
  t.is(lineage.length, 3);
  const memories = lineage.map(({ training }) => training?.optimizer?.sha256 ?? null);
  t.is(memories[0], null);
  t.truthy(memories[1]);
  t.not(memories[2], memories[1]);
  // B starts at 0 and every delta is 2: x = 2, then b = 0.9 · 2 + 2 takes it to 5.8.
  const values = await Promise.all(
    lineage.slice(1).map(async ({ adapters: [adapter], version }) => {
      const path = join(mesh.dir, `${version}.gguf`);
      const url = `${mesh.coordinator.http}/v1/artifacts/${adapter!.artifact.sha256}`;
      writeFileSync(path, new Uint8Array(await (await fetch(url)).arrayBuffer()));
      return readGgufAdapter(path).modules.get("blk.0.attn_q.weight")!.b[0]!;
    }),
  );
  t.deepEqual(values, [2, Math.fround(5.8)]);
});

test("a plan that can't hold together is refused before anything is trained", async (t) => {
  const mesh = await startDemoMesh(t, { evaluate: () => 50, regions: ["us"] });
  const { status, body } = await mesh.coordinator.post("/v1/campaigns", {
    ...{ model: "demo", strategy: { combine: "krum" }, privacy: { secureAggregation: true } },
  });
  t.is(status, 400);
  t.regex(JSON.stringify(body), /secure aggregation hides single deltas, so krum can't look/);
});
