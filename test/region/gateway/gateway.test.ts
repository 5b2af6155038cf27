// A region's gateway over real trunks to edges that die, freeze, drain and fill up in mid-stream.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { create, toBinary } from "@bufbuild/protobuf";
import test, { type ExecutionContext } from "ava";
import { Fault, type FaultCode } from "../../../proto/fault.ts";
import { EmbedRequestSchema, type Finished } from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import { ModelStatus, RegionSummarySchema } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import { explain } from "../../../region/gateway/explanation.ts";
import { relayedFault } from "../../../region/gateway/relayed-fault.ts";
import { plainRequest } from "../../../region/route/route-request.ts";
import { Caller } from "../../runtime/continuation/scripted-source.ts";
import { eventually } from "../../support/eventually.ts";
import { pacedTruth } from "../../support/paced-backend.ts";
import { beatFor } from "../fake-edge.ts";
import { modelState } from "../heartbeat-maker.ts";
import { contextOf, requestFor, startInProcessRegion, statusOf } from "../in-process-region.ts";

const TOKENS = 200;

function expectWhole(t: ExecutionContext, caller: Caller): Finished {
  const truth = pacedTruth(TOKENS);
  t.deepEqual(caller.trouble, []);
  t.deepEqual(caller.ids, truth.ids);
  t.is(caller.text, truth.text);
  t.is(caller.started, 1);
  if (caller.finished?.case !== "finished") throw new Error("not finished");
  t.is(caller.finished.value.completionTokens, TOKENS);
  return caller.finished.value;
}

test("twenty streams survive the edge that serves them", async (t) => {
  const region = await startInProcessRegion(t, "us");
  const first = await region.addEdge("us-1");
  const callers = Array.from({ length: 20 }, () => new Caller());
  const streams = callers.map((caller) =>
    region.gateway.generate(requestFor(TOKENS), contextOf(), caller.onEvent),
  );
  await eventually("all flow", () => callers.every(({ ids }) => ids.length > 10));
  const second = await region.addEdge("us-2");
  await first.kill();
  await Promise.all(streams);
  for (const caller of callers) {
    const { moves } = expectWhole(t, caller);
    t.is(moves.length, 1);
    t.like(moves[0], { fromEdge: "us-1", toEdge: "us-2", cause: "link-lost" });
  }
  t.is(second.backend.taken.length, 20);
  t.true(second.backend.taken.every(({ request }) => request.resume?.version === "m@1"));
  t.deepEqual(second.backend.taken[0]?.context.visitedRegions, ["us"]);
  await eventually("it is out", () => statusOf(region.edges, "us-1") !== "ready");
});

test("a frozen edge is left, and its streams end whole elsewhere", async (t) => {
  const region = await startInProcessRegion(t, "us");
  const file = new URL("../../runtime/trunk/peer-process.ts", import.meta.url).pathname;
  const child = spawn(process.execPath, [file], { stdio: ["pipe", "pipe", "inherit"] });
  t.teardown(() => child.kill("SIGKILL"));
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  const grpc = `127.0.0.1:${Number(line.toString())}`;
  const publish = (subject: string, body: Uint8Array) => {
    region.edges.takeHeartbeat(subject, body);
  };
  const beats = beatFor("peer", "us", publish, () => ({ grpc }));
  t.teardown(() => beats.stop());
  await eventually("it is ready", () => statusOf(region.edges, "peer") === "ready");
  const caller = new Caller();
  const stream = region.gateway.generate(requestFor(TOKENS), contextOf(), caller.onEvent);
  await eventually("it flows", () => caller.ids.length > 5);
  await region.addEdge("us-2");
  child.kill("SIGSTOP");
  beats.stop();
  await stream;
  const { moves } = expectWhole(t, caller);
  t.is(moves[0]?.fromEdge, "peer");
  t.not(statusOf(region.edges, "peer"), "ready");
});

test("with all its edges gone a region's streams go on in another region", async (t) => {
  const eu = await startInProcessRegion(t, "eu");
  const us = await startInProcessRegion(t, "us", { peers: [eu.address] });
  const there = await eu.addEdge("eu-1");
  const here = await us.addEdge("us-1");
  await eventually("the peer is up", () => us.peers.get("eu")?.trunk.state === "up");
  const caller = new Caller();
  const stream = us.gateway.generate(requestFor(TOKENS), contextOf(), caller.onEvent);
  await eventually("it flows", () => caller.ids.length > 5);
  await here.kill();
  await stream;
  const { moves } = expectWhole(t, caller);
  t.is(moves[0]?.toEdge, "eu-1");
  t.deepEqual(there.backend.taken[0]?.context.visitedRegions, ["us", "eu"]);
  const spilled = new Caller();
  await us.gateway.generate(requestFor(3), contextOf(), spilled.onEvent);
  t.is(spilled.ids.length, 3);
  const request = create(EmbedRequestSchema, { model: "m", inputs: ["ab"] });
  await t.throwsAsync(us.gateway.embed(request, contextOf({ visitedRegions: ["eu"] })), {
    instanceOf: Fault,
  });
});

test("a request that has been in a region isn't sent back there", async (t) => {
  const eu = await startInProcessRegion(t, "eu");
  await eu.addEdge("eu-1");
  const us = await startInProcessRegion(t, "us", { peers: [eu.address] });
  await eventually("the peer is up", () => us.peers.get("eu")?.trunk.state === "up");
  const context = contextOf({ visitedRegions: ["eu"] });
  const refused = us.gateway.generate(requestFor(3), context, () => {});
  t.is((await t.throwsAsync(refused, { instanceOf: Fault })).code, "unavailable");
});

test("a full edge spills to another before anybody is refused; all full is a 429", async (t) => {
  const region = await startInProcessRegion(t, "us");
  const one = await region.addEdge("us-1", { slots: 2 });
  const two = await region.addEdge("us-2", { slots: 2 });
  const hangUp = new AbortController();
  const endless = Array.from({ length: 4 }, () =>
    region.gateway.generate(requestFor(1e6), contextOf({ signal: hangUp.signal }), () => {}),
  );
  await eventually("both are full", () => one.backend.active + two.backend.active === 4);
  const refused = region.gateway.generate(requestFor(3), contextOf(), () => {});
  const fault = await t.throwsAsync(refused, { instanceOf: Fault });
  t.is(fault.code, "overloaded");
  t.true(fault.retryAfterMs > 0);
  hangUp.abort();
  const ended = await Promise.allSettled(endless);
  t.true(ended.every(({ status }) => status === "rejected"));
});

test("what an edge reports as full is told as a 429 with the predicted wait", async (t) => {
  const region = await startInProcessRegion(t, "us");
  const edge = await region.addEdge("us-1");
  const full = { active: 8, queued: 32, remainingTokensMean: 200, decodeTokensPerS: 100 };
  // A version on its way has no queue yet: it says nothing of when a request could be served.
  const pending = { status: ModelStatus.LOADING, version: "m@2", slots: 0 };
  edge.say({ models: [modelState(full), modelState(pending)] });
  const refused = region.gateway.generate(requestFor(3), contextOf(), () => {});
  const fault = await t.throwsAsync(refused, { instanceOf: Fault });
  t.is(fault.code, "overloaded");
  t.true(fault.retryAfterMs >= (33 * 200 * 10) / 8);
});

test("a draining edge gets nothing new, and its streams end there", async (t) => {
  const region = await startInProcessRegion(t, "us");
  const one = await region.addEdge("us-1");
  const caller = new Caller();
  const stream = region.gateway.generate(requestFor(TOKENS), contextOf(), caller.onEvent);
  await eventually("it flows", () => caller.ids.length > 5);
  const two = await region.addEdge("us-2");
  one.say({ draining: true });
  const next = new Caller();
  await region.gateway.generate(requestFor(TOKENS), contextOf(), next.onEvent);
  await stream;
  t.deepEqual(expectWhole(t, caller).moves, []);
  expectWhole(t, next);
  t.is(one.backend.taken.length, 1);
  t.is(two.backend.taken.length, 1);
});

test("an edge that fails fast loses its share of the work", async (t) => {
  const region = await startInProcessRegion(t, "us");
  const bad = await region.addEdge("us-1", { intervalMs: 0 });
  const good = await region.addEdge("us-2", { intervalMs: 0 });
  bad.backend.failWith(new Fault("engine-crashed", "boom"));
  // By its report it would be the best by far: it is idle, after all.
  bad.say({ models: [modelState({ prefillTokensPerS: 1e6, decodeTokensPerS: 1e6 })] });
  good.say({ models: [modelState({ prefillTokensPerS: 1 })] });
  for (let k = 0; k < 30; k += 1) {
    const caller = new Caller();
    await region.gateway.generate(requestFor(2), contextOf(), caller.onEvent);
    t.is(caller.ids.length, 2);
  }
  t.true(bad.backend.taken.length <= 5, `it got ${bad.backend.taken.length}`);
});

test("a conversation stays with the edge that holds its state", async (t) => {
  const region = await startInProcessRegion(t, "us");
  const edges = [await region.addEdge("us-1"), await region.addEdge("us-2")];
  const request = requestFor(2);
  request.prompt = { case: "text", value: "once upon a time ".repeat(200) };
  for (let k = 0; k < 6; k += 1) await region.gateway.generate(request, contextOf(), () => {});
  t.deepEqual(edges.map(({ backend }) => backend.taken.length).sort(), [0, 6]);
});

test("more streams than the gateway's bound are refused with a hint", async (t) => {
  const region = await startInProcessRegion(t, "us", { inFlightMax: 2 });
  await region.addEdge("us-1");
  const hangUp = new AbortController();
  const endless = [1, 2].map(() =>
    region.gateway.generate(requestFor(1e6), contextOf({ signal: hangUp.signal }), () => {}),
  );
  const refused = region.gateway.generate(requestFor(2), contextOf(), () => {});
  const fault = await t.throwsAsync(refused, { instanceOf: Fault });
  t.is(fault.code, "overloaded");
  t.true(fault.retryAfterMs > 0);
  hangUp.abort();
  await Promise.allSettled(endless);
  t.is(region.gateway.inFlight, 0);
});

test("an unknown model is not found; one whose edges are away is unavailable", async (t) => {
  const region = await startInProcessRegion(t, "us");
  const edge = await region.addEdge("us-1");
  const codeOf = async (model: string) => {
    const run = region.gateway.generate(requestFor(2, model), contextOf(), () => {});
    return (await t.throwsAsync(run, { instanceOf: Fault })).code;
  };
  t.is(await codeOf("nobody"), "model-not-found");
  edge.say({ draining: true });
  t.is(await codeOf("m"), "unavailable");
  t.deepEqual(
    region.gateway.listModels().map(({ id }) => id),
    ["m"],
  );
});

test("unary calls are tried on another edge when one fails", async (t) => {
  const region = await startInProcessRegion(t, "us");
  const one = await region.addEdge("us-1");
  const two = await region.addEdge("us-2");
  one.backend.failWith(new Fault("engine-crashed", "boom"));
  const request = create(EmbedRequestSchema, { model: "m", inputs: ["abc"] });
  for (let k = 0; k < 5; k += 1) {
    const answer = await region.gateway.embed(request, contextOf());
    t.is(answer.edge, "us-2");
  }
  two.backend.failWith(new Fault("invalid-argument", "no"));
  const run = region.gateway.embed(request, contextOf());
  t.is((await t.throwsAsync(run, { instanceOf: Fault })).code, "invalid-argument");
});

test("an embedding that can't be made here is made in another region, once", async (t) => {
  const eu = await startInProcessRegion(t, "eu");
  const us = await startInProcessRegion(t, "us", { peers: [eu.address] });
  await eventually("us sees eu", () => us.peers.get("eu")?.trunk.state === "up");
  const there = await eu.addEdge("eu-1");
  const request = create(EmbedRequestSchema, { model: "m", inputs: ["abc"] });
  t.is((await us.gateway.embed(request, contextOf())).edge, "eu-1");
  // Now each region can only hope for the other: neither knows what the other has.
  const sequence = 1n;
  const told = create(RegionSummarySchema, { ...us.address, incarnation: 1n, sequence });
  eu.peers.takeSummary("isthmus.summary.us", toBinary(RegionSummarySchema, told));
  await eventually("eu sees us", () => eu.peers.get("us")?.trunk.state === "up");
  await there.kill();
  await eventually("eu-1 is out", () => statusOf(eu.edges, "eu-1") !== "ready");
  const lost = us.gateway.embed(request, contextOf());
  t.true((await t.throwsAsync(lost, { instanceOf: Fault })).retriable);
});

test("what is final for one source isn't for a stream that has others", (t) => {
  const live = new AbortController().signal;
  const codeOf = (code: FaultCode, signal = live) => relayedFault(new Fault(code, ""), signal).code;
  t.is(codeOf("model-not-found"), "model-absent");
  t.is(codeOf("cancelled"), "link-lost");
  t.is(codeOf("cancelled", AbortSignal.abort()), "cancelled");
  t.is(codeOf("context-length-exceeded"), "context-length-exceeded");
  t.is(codeOf("overloaded"), "overloaded");
});

test("the explanation shows every edge, its terms, and why it lost", async (t) => {
  const region = await startInProcessRegion(t, "us");
  await region.addEdge("us-1");
  const slow = await region.addEdge("us-2");
  const gone = await region.addEdge("us-3");
  slow.say({ models: [modelState({ prefillTokensPerS: 1 })] });
  gone.say({ draining: true });
  const { edges, peers } = region;
  const inputs = { region: "us", edges, peers, random: () => 0 };
  const told = explain(inputs, plainRequest("m", 100));
  t.is(told.chosen, "us/us-1");
  t.deepEqual(
    told.edges.map(({ edge, candidate }) => [edge, candidate]),
    [
      ["us-1", true],
      ["us-2", true],
      ["us-3", false],
    ],
  );
  const [, second] = told.edges;
  t.true(second?.candidate && "terms" in second && second.terms.prefillMs >= 100_000);
  t.regex(second?.reason ?? "", /slower than us-1, .* of it prefill/);
  t.regex(told.edges[2]?.reason ?? "", /draining/);
});
