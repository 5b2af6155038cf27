// Two real processes of one region over one folder: what one leaves, the other takes up.
import { once } from "node:events";
import { join } from "node:path";
import { create, fromBinary, fromJson, type JsonValue, toBinary } from "@bufbuild/protobuf";
import test, { type ExecutionContext } from "ava";
import { connect } from "../../../client/index.ts";
import { Inference } from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import { type RegionSummary, RegionSummarySchema } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import {
  type RegionRoundStatus,
  RegionRoundStatusSchema,
  type RoundOffer,
  RoundOfferSchema,
} from "../../../proto/gen/isthmus/v1/rounds_pb.ts";
import { regionId, sha256 } from "../../../proto/ids.ts";
import { subjects } from "../../../proto/subjects.ts";
import { createClient, messagesOf } from "../../../runtime/grpc/bridge.ts";
import { openChannel } from "../../../runtime/grpc/channel.ts";
import { startHttpServer } from "../../../runtime/http/server.ts";
import { silentLog } from "../../../runtime/log.ts";
import { artifactRoutes } from "../../../sync/artifact/artifact-routes.ts";
import { createArtifactStore } from "../../../sync/artifact/artifact-store.ts";
import { openSigningKey } from "../../../sync/delta/signing-key.ts";
import { Caller } from "../../runtime/continuation/scripted-source.ts";
import { eventually } from "../../support/eventually.ts";
import { linkedNats } from "../../support/linked-nats.ts";
import { pacedTruth } from "../../support/paced-backend.ts";
import { startFakeEdge } from "../fake-edge.ts";
import { modelState } from "../heartbeat-maker.ts";
import { requestFor } from "../in-process-region.ts";
import { type RegionProcess, regionDir, startRegion } from "../region-process.ts";
import {
  acceptTraining,
  adapterOf,
  handIn,
  hashOf,
  MODEL,
  offerOf,
  START,
  signedDelta,
} from "../round/round-fixture.ts";

const { nats, servers } = await linkedNats();

interface PairOf {
  readonly name: string;
  readonly dir: string;
  start(instance: string): Promise<RegionProcess>;
}

async function pairOf(
  t: ExecutionContext,
  name: string,
  coordinator = { http: "http://127.0.0.1:9" },
): Promise<PairOf> {
  const dir = await regionDir(t);
  const common = { name, dir, nats: servers, natsDomain: "central" };
  return {
    ...{ name, dir },
    start: (instance) => startRegion(t, { ...common, coordinator, instance }),
  };
}

async function summaryOf({ http }: RegionProcess): Promise<RegionSummary> {
  const answer = await fetch(`${http}/v1/region`);
  return fromJson(RegionSummarySchema, (await answer.json()) as JsonValue);
}

const holderOf = async (region: RegionProcess) =>
  (await summaryOf(region)).instances.find(({ holds }) => holds)?.instance;

/** Offers a round to a region, or asks how it goes. */
async function tellRound(region: string, offer: RoundOffer): Promise<RegionRoundStatus> {
  const body = toBinary(RoundOfferSchema, offer);
  const answer = await nats.request(subjects.roundOffer(regionId(region)), body, 5000);
  return fromBinary(RegionRoundStatusSchema, answer);
}

function untilHolds(region: RegionProcess, instance: string): Promise<boolean> {
  return eventually(`${instance} has the lease`, async () => {
    return (
      (await holderOf(region)) === instance && (await fetch(`${region.http}/v1/quarantine`)).ok
    );
  });
}

test("killed or frozen, the holder is followed by the other, as one region", async (t) => {
  const { name, start } = await pairOf(t, "moves");
  const heard: RegionSummary[] = [];
  nats.subscribe(subjects.summary(regionId(name)), ({ body }) => {
    heard.push(fromBinary(RegionSummarySchema, body));
  });
  const a = await start("a");
  await untilHolds(a, "a");
  const b = await start("b");
  await eventually("each knows of both", async () => {
    const told = await Promise.all([summaryOf(a), summaryOf(b)]);
    return told.every(({ instances }) => instances.length === 2);
  });
  t.is(await holderOf(b), "a");
  const killedMs = performance.now();
  await a.end("SIGKILL");
  await untilHolds(b, "b");
  t.log(`killed: the duties run again after ${Math.round(performance.now() - killedMs)} ms`);
  const again = await start("a");
  t.is(await holderOf(b), "b", "nobody takes it back");
  const frozenMs = performance.now();
  b.child.kill("SIGSTOP");
  await untilHolds(again, "a");
  t.log(`frozen: the duties run again after ${Math.round(performance.now() - frozenMs)} ms`);
  b.child.kill("SIGCONT");
  await eventually("whoever wakes knows that it has them no more", async () => {
    return (await holderOf(b)) === "a";
  });
  const before = heard.length;
  await eventually("told on", () => heard.length > before + 1);
  t.is(new Set(heard.map(({ incarnation }) => incarnation)).size, 1, "one incarnation");
  t.true(heard.every((one, at) => at === 0 || one.sequence > heard[at - 1]!.sequence));
});

test("one that stops gives the lease back; one of its own name takes it up at once", async (t) => {
  const { start } = await pairOf(t, "stops");
  const a = await start("a");
  await untilHolds(a, "a");
  const b = await start("b");
  t.is(await a.end("SIGTERM"), 0);
  await untilHolds(b, "b");
  await b.end("SIGKILL");
  const again = await start("b");
  await untilHolds(again, "b");
  t.pass();
});

test("a round that one has opened is known to the other, which answers for it", async (t) => {
  const { name, start } = await pairOf(t, "rounds");
  const a = await start("a");
  await untilHolds(a, "a");
  const b = await start("b");
  const sha256 = "0".repeat(64);
  const offer = create(RoundOfferSchema, {
    ...{ campaign: "c", round: 1, model: "m", deadlineMs: BigInt(Date.now() + 600_000) },
    version: { version: "m@1", base: { sha256, bytes: 1n } },
    params: { steps: 1, rank: 4, alpha: 4, normMax: 1 },
  });
  const told = () => tellRound(name, offer);
  t.like(await eventually("the holder takes the offer", told), { reason: "", done: false });
  const path = "/v1/rounds/c/1";
  t.is((await fetch(`${a.http}${path}`)).status, 200);
  await eventually("the other passes it on", async () => (await fetch(`${b.http}${path}`)).ok);
  await a.end("SIGKILL");
  // Nobody has it for a while: that is said, and is no other answer.
  const between = await fetch(`${b.http}${path}`);
  if (between.status !== 200) {
    t.is(between.status, 503);
    t.truthy(between.headers.get("retry-after"));
  }
  await untilHolds(b, "b");
  t.is((await fetch(`${b.http}${path}`)).status, 200);
  t.is((await eventually("the offer is answered", told)).campaign, "c");
});

test("what the holder acknowledged before its death counts once at the other", async (t) => {
  const dir = await regionDir(t);
  const files = createArtifactStore({ dir });
  const app = artifactRoutes(files);
  const http = { host: "127.0.0.1", port: 0 };
  const coordinator = await startHttpServer({ ...http, app, log: silentLog() });
  t.teardown(() => coordinator.stop());
  const writer = await files.write(sha256(hashOf(START)), START.byteLength);
  await writer.write(START);
  await writer.commit();
  const { name, start } = await pairOf(t, "counts", {
    http: `http://127.0.0.1:${coordinator.port}`,
  });
  const a = await start("a");
  await untilHolds(a, "a");
  const b = await start("b");
  const edges = ["counts-1", "counts-2", "counts-3"];
  const keys = edges.map((edge) => openSigningKey(join(dir, `${edge}.pem`)));
  acceptTraining(nats, regionId(name), edges);
  const publish = (subject: string, body: Uint8Array) => nats.publish(subject, body);
  for (const [i, edge] of edges.entries()) {
    const running = await startFakeEdge(edge, name, publish);
    t.teardown(() => running.kill());
    running.say({ models: [modelState({ model: MODEL })], publicKey: keys[i]!.publicKey });
  }
  for (const region of [a, b]) {
    await eventually("the edges are ready", async () => {
      return (
        (await summaryOf(region)).edges.filter(({ status }) => status === "ready").length === 3
      );
    });
  }
  const offer = offerOf({ campaign: "counts", quorum: 3, goal: 3 });
  const deltas = edges.map((edge, i) =>
    signedDelta(offer, edge, keys[i]!, adapterOf(i + 1), { region: name }),
  );
  await eventually("the holder takes the offer", () => tellRound(name, offer));
  t.is((await handIn(a.http, deltas[0]!)).status, "included");
  t.is((await handIn(b.http, deltas[1]!)).status, "included", "the other passes it on");
  await a.end("SIGKILL");
  await untilHolds(b, "b");
  t.is((await handIn(b.http, deltas[0]!)).status, "duplicate", "it is here already");
  t.is((await handIn(b.http, deltas[2]!)).status, "included");
  const done = await eventually("the round is done", async () => {
    const status = await tellRound(name, offer);
    return status.done && status;
  });
  t.like(done.partial, { weight: 30, count: 3, contributors: edges });
});

test("streams of the SDK through a gateway that dies end complete at the other", async (t) => {
  const { name, start } = await pairOf(t, "streams");
  const [a, b] = await Promise.all([start("a"), start("b")]);
  const publish = (subject: string, body: Uint8Array) => nats.publish(subject, body);
  const edge = await startFakeEdge("streams-1", name, publish);
  t.teardown(() => edge.kill());
  const isServed = async (region: RegionProcess) =>
    (await summaryOf(region)).edges.some(({ status }) => status === "ready");
  await eventually("both see the edge", async () => (await isServed(a)) && (await isServed(b)));
  const client = await connect({ seeds: [a.grpc, b.grpc] });
  t.teardown(() => client.close());
  const known = () => client.endpoints("m").filter(({ role }) => role === "gateway");
  await eventually("the client knows both", () => known().length >= 2);
  // By a session, which only gateways take: the client would else go to the edge itself.
  const callers = Array.from({ length: 4 }, () => new Caller());
  let pauses: number[] = [];
  const streams = callers.map(async (caller) => {
    let lastMs = performance.now();
    const request = { ...requestFor(300), sessionId: `s${callers.indexOf(caller)}` };
    for await (const event of client.generate(request)) {
      pauses.push(performance.now() - lastMs);
      lastMs = performance.now();
      caller.onEvent(event);
    }
  });
  await eventually("all flow", () => callers.every(({ ids }) => ids.length > 5));
  const victim = known()[0]?.address === a.grpc ? a : b;
  const gone = once(victim.child, "exit");
  pauses = [];
  victim.child.kill("SIGKILL");
  await gone;
  await Promise.all(streams);
  t.log(`the longest pause was ${Math.round(Math.max(...pauses))} ms`);
  for (const caller of callers) {
    t.deepEqual(caller.trouble, []);
    t.deepEqual(caller.ids, pacedTruth(300).ids);
    t.is(caller.finished?.case, "finished");
  }
  const left = victim === a ? b : a;
  const channel = openChannel(left.grpc);
  t.teardown(() => channel.close());
  const after = new Caller();
  const call = createClient(Inference, channel).generate(requestFor(5));
  for await (const event of messagesOf(call)) after.onEvent(event);
  t.deepEqual(after.ids, pacedTruth(5).ids);
});
