// A version without one edge's part, and a version as one file: the coordinator as a process, with
// regions that keep what was handed in.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import type { LineageView } from "../../../coordinator/api/lineage-routes.ts";
import type { VersionRecord } from "../../../coordinator/catalogue/model-record.ts";
import type { CampaignState } from "../../../coordinator/rounds/campaign-state.ts";
import { dequantize } from "../../../sync/formats/block-quantization.ts";
import { readGgufAdapter } from "../../../sync/formats/gguf-adapter.ts";
import { ggufString } from "../../../sync/formats/gguf-metadata.ts";
import { readGguf, readTensorBytes } from "../../../sync/formats/gguf-reader.ts";
import { writeGguf } from "../../../sync/formats/gguf-writer.ts";
import type { LoraModule } from "../../../sync/formats/lora-adapter.ts";
import { addProduct } from "../../../sync/formats/lora-merge.ts";
import { TensorType } from "../../../sync/formats/tensor-type.ts";
import { eventually } from "../../support/eventually.ts";
import { type DemoMesh, startDemoMesh } from "../demo-mesh.ts";

const DEADLINE_MS = 90_000;
const gate = { holdMs: 0, patienceMs: 0 };

async function trained(mesh: DemoMesh, rounds: number): Promise<void> {
  const body = { model: "demo", rounds, params: { rank: 2, alpha: 4 }, gate };
  const { status, body: begun } = await mesh.coordinator.post("/v1/campaigns", body);
  if (status !== 201) throw new Error(JSON.stringify(begun));
  const { id } = begun as CampaignState;
  await eventually(
    "the rounds are over",
    async () => {
      const campaign = await mesh.coordinator.get<CampaignState>(`/v1/campaigns/${id}`);
      if (campaign.phase === "stopped") throw new Error(campaign.reason);
      return campaign.phase === "finished";
    },
    DEADLINE_MS,
  );
}

async function adapterOf(mesh: DemoMesh, { adapters }: VersionRecord): Promise<LoraModule> {
  const { sha256 } = adapters[0]!.artifact;
  const answer = await fetch(`${mesh.coordinator.http}/v1/artifacts/${sha256}`);
  const path = join(mesh.dir, `${sha256}.gguf`);
  writeFileSync(path, new Uint8Array(await answer.arrayBuffer()));
  return readGgufAdapter(path).modules.get("blk.0.attn_q.weight")!;
}

/** B starts from nothing, and every number of it is the same in these tests. */
async function numberOf(mesh: DemoMesh, version: VersionRecord): Promise<number> {
  const { b } = await adapterOf(mesh, version);
  if (new Set(b).size !== 1) throw new Error(`different numbers: ${b}`);
  return b[0]!;
}

/** A model whose one matrix is full of ones. */
async function uploadMaster({ coordinator, dir }: DemoMesh) {
  const path = join(dir, "master.gguf");
  const metadata = new Map([["general.architecture", ggufString("llama")]]);
  const name = "blk.0.attn_q.weight";
  const data = new Float32Array(16).fill(1);
  writeGguf(path, metadata, [{ name, dimensions: [4, 4], type: TensorType.f32, data }]);
  return await coordinator.upload(readFileSync(path), "master.gguf");
}

test("a version is rebuilt round by round without an edge, and its lineage says so", async (t) => {
  const mesh = await startDemoMesh(t, { evaluate: () => 98 });
  await trained(mesh, 2);
  const version = (id: string) => `/v1/models/demo/versions/${id}`;
  const before = await mesh.coordinator.get<LineageView>(`${version("3")}/lineage`);
  t.deepEqual(
    before.contributors.map(({ edge, rounds }) => [edge, rounds.length]),
    ["eu/eu-1", "eu/eu-2", "us/us-1", "us/us-2"].map((edge) => [edge, 2]),
  );
  // Every number of every delta is 2; of what eu rebuilds without eu-1 it is 1.
  const without = ["eu/eu-1"];
  const rebuilt = await mesh.coordinator.post(`${version("3")}/rebuild`, { without });
  t.is(rebuilt.status, 201, JSON.stringify(rebuilt.body));
  const record = rebuilt.body as VersionRecord;
  t.like(record, { version: "demo@4", verdict: "candidate", parent: "demo@2" });
  t.deepEqual(record.origin, { kind: "rebuilt", from: "demo@3", without });
  t.is(await numberOf(mesh, before.version), 4);
  // Each round: us weighs 20 with a delta of 2. In the first it is as it was; the fake edges sum
  // anew to 2 in the second as well; eu is left with weight 10 and a delta of 1.
  const each = (20 * 2 + 10 * 1) / 30;
  t.true(Math.abs((await numberOf(mesh, record)) - 2 * each) < 1e-5);
  const [us, eu] = mesh.regions;
  t.deepEqual(
    eu!.rebuilds.map(({ round, without: left }) => [round, ...left]),
    [
      [1, "eu-1"],
      [2, "eu-1"],
    ],
  );
  t.is(eu!.rebuilds[0]!.adapterState, undefined, "the first round started from what it did");
  t.is(us!.rebuilds.length, 1, "only the second round has another start");
  t.truthy(us!.rebuilds[0]!.adapterState);

  const after = await mesh.coordinator.get<LineageView>(`${version("4")}/lineage`);
  t.deepEqual(after.without, without);
  t.deepEqual(
    after.contributors.map(({ edge }) => edge),
    ["eu/eu-2", "us/us-1", "us/us-2"],
  );
  const again = await mesh.coordinator.post(`${version("3")}/rebuild`, { without });
  t.is((again.body as VersionRecord).version, "demo@4", "asked again it is the same version");
  const stranger = await mesh.coordinator.post(`${version("3")}/rebuild`, { without: ["eu/eu-9"] });
  t.like(stranger, { status: 412 });
  const all = before.contributors.map(({ edge }) => edge);
  const nobody = await mesh.coordinator.post(`${version("3")}/rebuild`, { without: all });
  t.like(nobody, { status: 412 });
});

test("a version is merged into the full-precision master, as a version of its own", async (t) => {
  const mesh = await startDemoMesh(t, { evaluate: () => 98 });
  await trained(mesh, 1);
  const master = await uploadMaster(mesh);
  const merged = await mesh.coordinator.post("/v1/models/demo/versions/2/merge", {
    quantization: "f32",
    master,
  });
  t.is(merged.status, 201, JSON.stringify(merged.body));
  const record = merged.body as VersionRecord;
  t.like(record, { version: "demo@3", adapters: [], training: null, verdict: "candidate" });
  t.deepEqual(record.origin, { kind: "merged", from: "demo@2", quantization: "f32" });
  const file = join(mesh.dir, "merged.gguf");
  const answer = await fetch(`${mesh.coordinator.http}/v1/artifacts/${record.base.sha256}`);
  writeFileSync(file, new Uint8Array(await answer.arrayBuffer()));
  const gguf = readGguf(file);
  const weights = gguf.tensors.get("blk.0.attn_q.weight")!;
  const expected = new Float32Array(16).fill(1);
  const { lineage } = await mesh.coordinator.get<{ lineage: VersionRecord[] }>("/v1/models/demo");
  // Alpha is 4 and the rank 2.
  addProduct(expected, await adapterOf(mesh, lineage[1]!), 2);
  t.deepEqual(dequantize(readTensorBytes(gguf, weights), weights.type), expected);
  const view = await mesh.coordinator.get<LineageView>("/v1/models/demo/versions/3/lineage");
  t.is(view.contributors.length, 4, "they are in it still");
  const without = ["eu/eu-1"];
  const refused = await mesh.coordinator.post("/v1/models/demo/versions/3/rebuild", { without });
  t.is(refused.status, 412);
  t.regex(JSON.stringify(refused.body), /part of its weights/);
});
