// Requests for a model that no edge of the region serves at the moment: spilled, kept until one
// comes up, or told when to come back.
import { create } from "@bufbuild/protobuf";
import test, { type ExecutionContext } from "ava";
import { Fault } from "../../../proto/fault.ts";
import {
  EmbedRequestSchema,
  PolicySchema,
  Priority,
} from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import { DesiredStateSchema, ModelStatus } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import { scalingSchema } from "../../../region/scaling/scaling-rules.ts";
import { Caller } from "../../runtime/continuation/scripted-source.ts";
import { eventually } from "../../support/eventually.ts";
import { beatFor } from "../fake-edge.ts";
import { modelState } from "../heartbeat-maker.ts";
import { contextOf, requestFor, startInProcessRegion } from "../in-process-region.ts";

const desired = create(DesiredStateSchema, { revision: 1n, models: [{ model: "m" }] });

async function coldRegion(t: ExecutionContext, hold: object = {}) {
  const scaling = scalingSchema.parse({ everyModel: { replicasMin: 0 }, hold });
  const region = await startInProcessRegion(t, "us", { scaling });
  region.scaling.start(() => desired);
  return region;
}

async function faultOf(t: ExecutionContext, work: Promise<unknown>): Promise<Fault> {
  return await t.throwsAsync(work, { instanceOf: Fault });
}

test("requests for a sleeping model wait, and go on once an edge is up", async (t) => {
  const region = await coldRegion(t);
  const callers = [new Caller(), new Caller()];
  const streams = callers.map((caller) =>
    region.gateway.generate(requestFor(5), contextOf(), caller.onEvent),
  );
  const embedding = region.gateway.embed(
    create(EmbedRequestSchema, { model: "m", inputs: ["ab"] }),
    contextOf(),
  );
  await eventually("all wait", () => region.scaling.cold.count("m") === 3);
  region.scaling.look();
  await region.addEdge("us-1");
  await Promise.all([...streams, embedding]);
  for (const caller of callers) t.is(caller.ids.length, 5);
  t.is(region.scaling.cold.count("m"), 0);
  // And what it took is measured: the next wait is told by it.
  const late = await coldRegion(t, { patienceMs: 0 });
  const { retryAfterMs } = await faultOf(
    t,
    late.gateway.generate(requestFor(5), contextOf(), () => {}),
  );
  t.is(retryAfterMs, 30_000);
});

test("with no room or no patience left a caller is told when to come back", async (t) => {
  const region = await coldRegion(t, { patienceMs: 150, requestsPerModelMax: 1 });
  const waits = faultOf(
    t,
    region.gateway.generate(requestFor(5), contextOf(), () => {}),
  );
  await eventually("one waits", () => region.scaling.cold.count("m") === 1);
  const full = await faultOf(
    t,
    region.gateway.generate(requestFor(5), contextOf(), () => {}),
  );
  t.like(full, { code: "unavailable", stage: "rejected" });
  const tired = await waits;
  t.like(tired, { code: "unavailable", stage: "evicted" });
  t.regex(tired.message, /it has waited 0.15 s for one; try again in 30 s/);
  t.true(tired.retryAfterMs > 1000);
  t.is(tired.kind.http, 503);
  t.is(region.scaling.demand.count("m").turnedAway, 2);
});

test("the time until an edge was up is what the next caller is told", async (t) => {
  const region = await coldRegion(t, { requestsPerModelMax: 1 });
  const caller = new Caller();
  const stream = region.gateway.generate(requestFor(2), contextOf(), caller.onEvent);
  await eventually("it waits", () => region.scaling.cold.count("m") === 1);
  const before = await faultOf(
    t,
    region.gateway.generate(requestFor(2), contextOf(), () => {}),
  );
  t.true(before.retryAfterMs > 20_000, "a guess, where nothing was measured");
  const edge = await region.addEdge("us-1");
  await stream;
  region.scaling.look();
  edge.say({ leaving: true });
  await edge.kill();
  const hangUp = new AbortController();
  const context = contextOf({ signal: hangUp.signal });
  const next = faultOf(
    t,
    region.gateway.generate(requestFor(2), context, () => {}),
  );
  await eventually("it waits", () => region.scaling.cold.count("m") === 1);
  const after = await faultOf(
    t,
    region.gateway.generate(requestFor(2), contextOf(), () => {}),
  );
  t.true(after.retryAfterMs < 20_000, `${after.retryAfterMs} ms, as measured`);
  hangUp.abort();
  t.is((await next).code, "cancelled");
  t.is(region.scaling.cold.count("m"), 0);
});

test("deadlines hold while waiting; whoever hangs up is forgotten", async (t) => {
  const region = await coldRegion(t);
  const soon = contextOf({ deadlineMs: Date.now() + 100 });
  const late = faultOf(
    t,
    region.gateway.generate(requestFor(2), soon, () => {}),
  );
  const hangUp = new AbortController();
  const gone = contextOf({ signal: hangUp.signal });
  const left = faultOf(
    t,
    region.gateway.generate(requestFor(2), gone, () => {}),
  );
  await eventually("both wait", () => region.scaling.cold.count("m") === 2);
  hangUp.abort();
  t.is((await left).code, "cancelled");
  t.like(await late, { code: "deadline-exceeded", stage: "evicted" });
  t.is(region.scaling.cold.count("m"), 0);
});

test("another region that has it goes before waiting, unless the rules forbid it", async (t) => {
  const eu = await startInProcessRegion(t, "eu");
  await eu.addEdge("eu-1");
  const scaling = scalingSchema.parse({});
  const us = await startInProcessRegion(t, "us", { scaling, peers: [eu.address] });
  us.scaling.start(() => desired);
  await eventually("the peer is up", () => us.peers.get("eu")?.trunk.state === "up");
  const caller = new Caller();
  await us.gateway.generate(requestFor(3), contextOf(), caller.onEvent);
  t.is(caller.ids.length, 3);
  t.is(us.scaling.demand.count("m").turnedAway, 1);
  const policy = create(PolicySchema, { regions: ["us"] });
  const ruled = { ...requestFor(3), policy };
  const here = new Caller();
  const stream = us.gateway.generate(ruled, contextOf(), here.onEvent);
  await eventually("it waits", () => us.scaling.cold.count("m") === 1);
  await us.addEdge("us-1");
  await stream;
  t.is(here.ids.length, 3);
});

test("what another region sent here, and what nobody knows, is refused at once", async (t) => {
  const region = await coldRegion(t);
  const relayed = contextOf({ visitedRegions: ["eu"] });
  const sent = await faultOf(
    t,
    region.gateway.generate(requestFor(3), relayed, () => {}),
  );
  t.is(sent.code, "unavailable");
  const unknown = region.gateway.generate(requestFor(3, "nobody-knows"), contextOf(), () => {});
  t.is((await faultOf(t, unknown)).code, "unavailable");
  t.is(region.scaling.cold.models().length, 0);
});

test("an edge that brings the model up is waited for, and says how far it is", async (t) => {
  const region = await startInProcessRegion(t, "us", { scaling: scalingSchema.parse({}) });
  const states = [modelState({ status: ModelStatus.LOADING, slots: 0 })];
  const publish = (subject: string, body: Uint8Array) => {
    region.edges.takeHeartbeat(subject, body);
  };
  const beats = beatFor("us-9", "us", publish, () => ({ models: states }));
  t.teardown(() => beats.stop());
  const caller = new Caller();
  const batch = { ...requestFor(2), priority: Priority.BATCH };
  const order: string[] = [];
  const streams = [
    region.gateway.generate(batch, contextOf(), () => order.push("batch")),
    region.gateway.generate(requestFor(2), contextOf(), caller.onEvent),
  ];
  await eventually("both wait", () => region.scaling.cold.count("m") === 2);
  region.scaling.look();
  await region.addEdge("us-1");
  await Promise.all(streams);
  t.is(caller.ids.length, 2);
  t.true(order.length > 0);
});
