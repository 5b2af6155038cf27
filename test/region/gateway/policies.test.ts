// What rules do to requests at a gateway: where they may go, and what is said when nowhere will do.
import { create, toBinary } from "@bufbuild/protobuf";
import test, { type ExecutionContext } from "ava";
import { Fault } from "../../../proto/fault.ts";
import {
  type GenerateRequest,
  type Policy,
  PolicySchema,
} from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import {
  ModelStatus,
  RegionModelSchema,
  RegionSummarySchema,
} from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import { Caller } from "../../runtime/continuation/scripted-source.ts";
import { eventually } from "../../support/eventually.ts";
import { modelState } from "../heartbeat-maker.ts";
import {
  contextOf,
  type InProcessRegion,
  requestFor,
  startInProcessRegion,
  statusOf,
} from "../in-process-region.ts";

type Fields = Partial<Omit<Policy, "$typeName" | "$unknown">>;

function ruled(policy: Fields): GenerateRequest {
  return { ...requestFor(3), policy: create(PolicySchema, policy) };
}

async function faultOf(t: ExecutionContext, region: InProcessRegion, policy: Fields) {
  const run = region.gateway.generate(ruled(policy), contextOf(), () => {});
  return await t.throwsAsync(run, { instanceOf: Fault });
}

/** Regions us and eu, each knowing the other; us has an edge, eu has one and carries gdpr. */
async function twoRegions(t: ExecutionContext) {
  const labels = { jurisdictions: ["gdpr"], gramsCo2PerKwh: 0 };
  const eu = await startInProcessRegion(t, "eu", { labels });
  const us = await startInProcessRegion(t, "us", { peers: [eu.address] });
  const here = await us.addEdge("us-1", { intervalMs: 0 });
  const there = await eu.addEdge("eu-1", { intervalMs: 0 });
  await eventually("the peer is up", () => us.peers.get("eu")?.trunk.state === "up");
  const models = [create(RegionModelSchema, { model: "m", edgesReady: 1, slots: 8, freeSlots: 8 })];
  const summary = create(RegionSummarySchema, {
    ...{ ...eu.address, incarnation: 1n, sequence: 1n, models },
    labels,
  });
  us.peers.takeSummary("isthmus.summary.eu", toBinary(RegionSummarySchema, summary));
  return { us, eu, here, there };
}

test("a request is served only where its rules allow, by way of any gateway", async (t) => {
  const { us, here, there } = await twoRegions(t);
  for (const policy of [{ regions: ["eu"] }, { jurisdictions: ["gdpr"] }]) {
    const caller = new Caller();
    await us.gateway.generate(ruled(policy), contextOf(), caller.onEvent);
    t.is(caller.ids.length, 3);
  }
  t.is(here.backend.taken.length, 0);
  t.is(there.backend.taken.length, 2);
  t.deepEqual(there.backend.taken[0]?.request.policy?.regions, ["eu"]);
  await us.gateway.generate(ruled({ regions: ["us"] }), contextOf(), () => {});
  t.is(here.backend.taken.length, 1);
});

test("a rule that nothing known can meet is a failed precondition that names it", async (t) => {
  const { us } = await twoRegions(t);
  const wrongs: readonly [Fields, string, RegExp][] = [
    [{ regions: ["mars"] }, "policy.regions", /= mars: no region of that name is known/],
    [{ jurisdictions: ["appi"] }, "policy.jurisdictions", /= appi: no region allowed carries one/],
    [{ gpuRequired: true }, "policy.gpu_required", /no edge that serves m is known to have a GPU/],
  ];
  for (const [policy, param, expected] of wrongs) {
    const fault = await faultOf(t, us, policy);
    t.is(fault.code, "failed-precondition");
    t.is(fault.param, param);
    t.regex(fault.message, expected);
  }
});

test("what is allowed but away is unavailable, and worth another try", async (t) => {
  const { us, eu, there } = await twoRegions(t);
  await there.kill();
  await eventually("eu has no edge", () => statusOf(eu.edges, "eu-1") !== "ready");
  t.true((await faultOf(t, us, { regions: ["eu"] })).retriable);
});

test("a deadline that no edge can meet is refused at once, with when to come back", async (t) => {
  const region = await startInProcessRegion(t, "us");
  const edge = await region.addEdge("us-1");
  edge.say({ models: [modelState({ active: 8, queued: 8, remainingTokensMean: 400 })] });
  const context = contextOf({ deadlineMs: Date.now() + 1000 });
  const run = region.gateway.generate(requestFor(3), context, () => {});
  const fault = await t.throwsAsync(run, { instanceOf: Fault });
  t.is(fault.code, "overloaded");
  t.regex(fault.message, /before the request's deadline/);
  t.true(fault.retryAfterMs > 1000);
});

test("a model that fits nowhere is unavailable, with the reason", async (t) => {
  const region = await startInProcessRegion(t, "us");
  const edge = await region.addEdge("us-1");
  const stored = { status: ModelStatus.STORED, memoryNeededBytes: 4n << 30n };
  edge.say({ models: [modelState(stored)], memoryFreeBytes: 1n << 30n });
  const fault = await faultOf(t, region, {});
  t.is(fault.code, "unavailable");
  t.regex(fault.message, /loading it takes 4096 MiB, and 1024 MiB of its memory are free/);
});
