// A version's way to the edges: the coordinator as a process, real NATS, regions that speak the
// real protocol and whose edges tell how versions do.
import { create } from "@bufbuild/protobuf";
import test, { type ExecutionContext } from "ava";
import type { RolloutView } from "../../../coordinator/api/rollout-routes.ts";
import type { ModelRecord, VersionRecord } from "../../../coordinator/catalogue/model-record.ts";
import type { RolloutPhase } from "../../../coordinator/rollout/rollout-state.ts";
import { VersionHealthSchema } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import { eventually } from "../../support/eventually.ts";
import { type DemoMesh, startDemoMesh } from "../demo-mesh.ts";
import type { FakeRegionSetup } from "../fake-region.ts";

type Detail = ModelRecord & { readonly lineage: readonly VersionRecord[] };

const DEADLINE_MS = 60_000;
/** Patient enough that a slow machine's callers are heard. */
const gate = { holdMs: 100, patienceMs: 600_000, watchMs: 600_000, live: { samples: 20 } };
/** Of a version that nobody calls. */
const hasty = { ...gate, patienceMs: 1_000 };
const same: FakeRegionSetup["evaluate"] = (_version, isPublic) => (isPublic ? 98 : 60);

/** A mesh that serves demo@1, with demo@2 published beside it. */
async function setUp(t: ExecutionContext, evaluate: FakeRegionSetup["evaluate"] = same) {
  const mesh = await startDemoMesh(t, { evaluate });
  const base = await mesh.coordinator.upload(Buffer.from("other"), "other.gguf");
  const { status } = await mesh.coordinator.post("/v1/models", { model: "demo", base });
  t.is(status, 201);
  const tools = {
    promote: (body: object = {}) => {
      return mesh.coordinator.post("/v1/models/demo/promote", { version: "2", gate, ...body });
    },
    view: () => mesh.coordinator.get<RolloutView>("/v1/models/demo/rollout"),
    model: () => mesh.coordinator.get<Detail>("/v1/models/demo"),
    reaches: (phase: RolloutPhase) =>
      eventually(
        `the rollout is ${phase}`,
        async () => {
          const { rollout } = await mesh.coordinator.get<RolloutView>("/v1/models/demo/rollout");
          if (rollout?.phase !== phase) throw new Error(JSON.stringify(rollout));
          return rollout;
        },
        DEADLINE_MS,
      ),
  };
  return Object.assign(Object.create(mesh) as DemoMesh, tools);
}

/** How an edge tells of both versions: the incumbent well, the candidate as given. */
const told = (version: string, requests: number, errors: number) =>
  create(VersionHealthSchema, {
    ...{ model: "demo", version, requests: BigInt(requests), errors: BigInt(errors), sinceMs: 1n },
  });

test("a good version goes over canaries and waves to every edge", async (t) => {
  const mesh = await setUp(t);
  const [us, eu] = mesh.regions;
  for (const region of mesh.regions) region.health = () => [told("demo@1", 90, 1)];
  // The busiest edge is the canary: only requests tell how a version does.
  eu!.health = (edge) => [
    told("demo@1", edge === "eu-2" ? 500 : 90, 1),
    ...(eu!.servedBy(edge) === "demo@2" ? [told("demo@2", 40, 0)] : []),
  ];
  t.is((await mesh.promote()).status, 202);
  const rollout = await mesh.reaches("watching");
  t.deepEqual(rollout.unsure, []);
  t.deepEqual(rollout.edges, ["eu/eu-1", "eu/eu-2", "us/us-1", "us/us-2"]);
  t.is(eu!.tried[0], "eu-2 demo@2");
  t.true(us!.tried.length <= 2);
  await eventually("every edge serves it", () => {
    return mesh.regions.every(({ served, desired }) => {
      return served === "demo@2" && desired?.trials.length === 0;
    });
  });
  const { health } = await mesh.view();
  t.like(health["demo@2"], { requests: 80, errors: 0 });
  t.is((await mesh.model()).served, "demo@2");
});

test("a version that fails with callers is taken back, and not served again", async (t) => {
  const mesh = await setUp(t);
  for (const region of mesh.regions) {
    region.health = (edge) => [
      told("demo@1", 100, 0),
      ...(region.servedBy(edge) === "demo@2" ? [told("demo@2", 30, 12)] : []),
    ];
  }
  await mesh.promote();
  const rollout = await mesh.reaches("rolled-back");
  t.regex(rollout.reason, /^40\.0 % of 30 requests fail, 0\.0 % with the incumbent; at most 2 /);
  t.is(rollout.edges.length, 1, "it got no further than the canary");
  const tried = mesh.regions.flatMap((region) => region.tried);
  t.is(tried.length, 1);
  t.is((await mesh.model()).served, "demo@1");
  await eventually("the canary serves the incumbent again", () => {
    return mesh.regions.every((region) => {
      const edges = ["1", "2"].map((n) => region.servedBy(`${region.name}-${n}`));
      return edges.every((version) => version === "demo@1");
    });
  });
  const { lineage } = await mesh.model();
  t.like(lineage[1], { verdict: "rejected" });
  const again = await mesh.promote();
  t.is(again.status, 409);
});

test("one that turns out worse once everybody has it is taken back from everybody", async (t) => {
  const mesh = await setUp(t);
  let errors = 0;
  for (const region of mesh.regions) {
    region.health = (edge) => [
      told("demo@1", 100, 0),
      ...(region.servedBy(edge) === "demo@2" ? [told("demo@2", 30 + errors, errors)] : []),
    ];
  }
  await mesh.promote();
  await mesh.reaches("watching");
  await eventually("every edge serves it", () => {
    return mesh.regions.every(({ served }) => served === "demo@2");
  });
  errors = 20;
  await mesh.reaches("rolled-back");
  await eventually("every edge serves the incumbent again", () => {
    return mesh.regions.every(({ served }) => served === "demo@1");
  });
});

test("the gate refuses a version that costs one region's private set too much", async (t) => {
  const mesh = await setUp(t, (version, isPublic, edge) => {
    if (isPublic) return 98;
    return version === "demo@2" && edge.startsWith("eu") ? 30 : 60;
  });
  await mesh.promote();
  const { reason } = await mesh.reaches("refused");
  t.is(
    reason,
    "dialect-eu of eu loses 30.0 points of exact match (from 120 of 200 to 60 of 200); " +
      "at most 20 may be lost",
  );
  t.deepEqual(
    mesh.regions.flatMap((region) => region.tried),
    [],
    "no caller got it",
  );
  const margin = { ...hasty, privateMarginPoints: 30 };
  t.is((await mesh.promote({ gate: margin })).status, 409, "it was rejected");
  t.is((await mesh.promote({ gate: margin, force: true })).status, 202);
  await mesh.reaches("watching");
});

test("a coordinator killed while canaries try a version goes on from there", async (t) => {
  const mesh = await setUp(t);
  const slow = { ...gate, quietMs: 600_000 };
  await mesh.promote({ gate: slow });
  const before = await mesh.reaches("canary");
  const [canary = ""] = await eventually("an edge tries it", async () => {
    const tried = mesh.regions.flatMap((region) => region.tried);
    return tried.length > 0 && tried;
  });
  await mesh.coordinator.kill();
  await mesh.restart();
  const after = await mesh.reaches("canary");
  t.is(after.number, before.number);
  t.true(canary.endsWith(" demo@2"));
  // Nobody calls, so the operator has to decide.
  const { status } = await mesh.coordinator.post("/v1/models/demo/rollback", {});
  t.is(status, 200);
  await mesh.reaches("rolled-back");
  const { lineage, served } = await mesh.model();
  t.is(served, "demo@1");
  t.like(lineage[1], { verdict: "accepted" }, "the operator's word is no judgement");
});
