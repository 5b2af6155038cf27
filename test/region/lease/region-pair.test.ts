// Two real processes of one region over one folder: what one leaves, the other takes up.
import { once } from "node:events";
import { create, fromBinary, fromJson, type JsonValue, toBinary } from "@bufbuild/protobuf";
import test, { type ExecutionContext } from "ava";
import { connect } from "../../../client/index.ts";
import { Inference } from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import { type RegionSummary, RegionSummarySchema } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import {
  RegionRoundStatusSchema,
  RoundOfferSchema,
} from "../../../proto/gen/isthmus/v1/rounds_pb.ts";
import { regionId } from "../../../proto/ids.ts";
import { subjects } from "../../../proto/subjects.ts";
import { createClient, messagesOf } from "../../../runtime/grpc/bridge.ts";
import { openChannel } from "../../../runtime/grpc/channel.ts";
import { Caller } from "../../runtime/continuation/scripted-source.ts";
import { eventually } from "../../support/eventually.ts";
import { linkedNats } from "../../support/linked-nats.ts";
import { pacedTruth } from "../../support/paced-backend.ts";
import { startFakeEdge } from "../fake-edge.ts";
import { requestFor } from "../in-process-region.ts";
import { type RegionProcess, regionDir, startRegion } from "../region-process.ts";

const { nats, servers } = await linkedNats();

interface PairOf {
  readonly name: string;
  readonly dir: string;
  start(instance: string): Promise<RegionProcess>;
}

async function pairOf(t: ExecutionContext, name: string): Promise<PairOf> {
  const dir = await regionDir(t);
  const common = { name, dir, nats: servers, natsDomain: "central" };
  const coordinator = { http: "http://127.0.0.1:9" };
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
  const ask = async () => {
    const body = toBinary(RoundOfferSchema, offer);
    const answer = await nats.request(subjects.roundOffer(regionId(name)), body, 5000);
    return fromBinary(RegionRoundStatusSchema, answer);
  };
  t.like(await eventually("the holder takes the offer", ask), { reason: "", done: false });
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
  t.is((await eventually("the offer is answered", ask)).campaign, "c");
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
