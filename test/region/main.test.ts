// The region as a process, with real nats-servers, real gRPC and edges that the test holds.
import { createServer } from "node:net";
import { create, fromBinary, fromJson, toBinary } from "@bufbuild/protobuf";
import test, { type ExecutionContext } from "ava";
import { Discovery } from "../../proto/gen/isthmus/v1/discovery_pb.ts";
import { type GenerateResponse, Inference } from "../../proto/gen/isthmus/v1/inference_pb.ts";
import {
  type DesiredState,
  DesiredStateSchema,
  RegionSummarySchema,
} from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import { edgeId, regionId, type Sha256 } from "../../proto/ids.ts";
import { subjects } from "../../proto/subjects.ts";
import { createClient, messagesOf } from "../../runtime/grpc/bridge.ts";
import { openChannel } from "../../runtime/grpc/channel.ts";
import { startHttpServer } from "../../runtime/http/server.ts";
import { silentLog } from "../../runtime/log.ts";
import { connectNats, type NatsLink } from "../../runtime/nats/connection.ts";
import { artifactRoutes } from "../../sync/artifact/artifact-routes.ts";
import { createArtifactStore } from "../../sync/artifact/artifact-store.ts";
import { Caller } from "../runtime/continuation/scripted-source.ts";
import { eventually } from "../support/eventually.ts";
import { NatsTopology } from "../support/nats-topology.ts";
import { pacedTruth } from "../support/paced-backend.ts";
import { type FakeEdge, startFakeEdge } from "./fake-edge.ts";
import { requestFor } from "./in-process-region.ts";
import { type RegionProcess, regionDir, startRegion } from "./region-process.ts";

const us = regionId("us");
/** This process is busy with edges of its own; a late answer is no dead link here. */
const patient = { timeMs: 20_000, timeoutMs: 20_000 };
const nobody = { http: "http://127.0.0.1:9" };
let topology: NatsTopology;

test.before(async () => {
  topology = await NatsTopology.start(["us", "eu"]);
});
test.after.always(() => topology?.stop());

async function natsOf(t: ExecutionContext, region: string): Promise<NatsLink> {
  const link = await connectNats({ servers: topology.urls(region), name: `test ${region}` });
  t.teardown(() => link.close());
  return link;
}

/** A region of this name on the topology's servers, without a coordinator. */
async function regionOn(
  t: ExecutionContext,
  name: string,
  more: Record<string, unknown> = {},
): Promise<RegionProcess> {
  const dir = await regionDir(t);
  const nats = topology.urls(name);
  return startRegion(t, { name, dir, nats, coordinator: nobody, ...more });
}

async function edgeOn(t: ExecutionContext, link: NatsLink, name: string, region: string) {
  const edge = await startFakeEdge(name, region, (subject, body) => link.publish(subject, body));
  t.teardown(() => edge.kill());
  return edge;
}

async function summaryOf({ http }: RegionProcess) {
  const response = await fetch(`${http}/v1/region`);
  return fromJson(RegionSummarySchema, (await response.json()) as object as never);
}

async function untilReady(region: RegionProcess, ...edges: FakeEdge[]): Promise<void> {
  await eventually("the edges are ready", async () => {
    const summary = await summaryOf(region);
    const ready = summary.edges.filter(({ status }) => status === "ready").map((e) => e.edge);
    return edges.every(({ name }) => ready.includes(name));
  });
}

function inferenceOf(t: ExecutionContext, { grpc }: RegionProcess) {
  const channel = openChannel(grpc, patient);
  t.teardown(() => channel.close());
  return createClient(Inference, channel);
}

async function follow(
  stream: AsyncIterable<GenerateResponse>,
  caller: Caller,
  tokens: number,
  t: ExecutionContext,
): Promise<void> {
  for await (const event of stream) caller.onEvent(event);
  t.deepEqual(caller.trouble, []);
  t.deepEqual(caller.ids, pacedTruth(tokens).ids);
  t.is(caller.text, pacedTruth(tokens).text);
  t.is(caller.finished?.case, "finished");
}

test.serial("it starts, answers and stops with nobody else there", async (t) => {
  const dir = await regionDir(t);
  const nats = ["nats://127.0.0.1:9"];
  const region = await startRegion(t, { name: "us", dir, nats, coordinator: nobody });
  t.is((await fetch(`${region.http}/healthz`)).status, 200);
  t.is((await fetch(`${region.http}/readyz`)).status, 503);
  const client = inferenceOf(t, region);
  const fault = await t.throwsAsync(async () => {
    for await (const _ of messagesOf(client.generate(requestFor(3)))) t.fail();
  });
  t.like(fault, { code: "unavailable" });
  t.is(await region.end("SIGTERM"), 0);
});

test.serial("it serves gRPC and OpenAI callers from edges that only beat and listen", async (t) => {
  const link = await natsOf(t, "us");
  const region = await regionOn(t, "us");
  const edge = await edgeOn(t, link, "us-1", "us");
  await untilReady(region, edge);
  t.is((await fetch(`${region.http}/readyz`)).status, 200);
  const client = inferenceOf(t, region);
  await follow(messagesOf(client.generate(requestFor(20))), new Caller(), 20, t);
  const answer = await fetch(`${region.http}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      model: "m",
      messages: [{ role: "user", content: "x" }],
      max_tokens: 4,
    }),
  });
  const body = (await answer.json()) as { choices: { message: { content: string } }[] };
  t.is(body.choices[0]?.message.content, pacedTruth(4).text);
  const channel = openChannel(region.grpc, patient);
  t.teardown(() => channel.close());
  const topologyNow = await createClient(Discovery, channel).getTopology({});
  t.is(topologyNow.regions[0]?.edges[0]?.edge, "us-1");
  t.true(topologyNow.regions[0]?.edges[0]?.ready);
  const told = await fetch(`${region.http}/v1/routes/explain?model=m`);
  t.is(((await told.json()) as { chosen: string }).chosen, "us/us-1");
  t.is((await fetch(`${region.http}/v1/routes/explain?model=..`)).status, 400);
});

test.serial("what nobody should say on NATS does it no harm", async (t) => {
  const link = await natsOf(t, "us");
  const region = await regionOn(t, "us");
  const edge = await edgeOn(t, link, "us-1", "us");
  await untilReady(region, edge);
  const junk = [new Uint8Array(), new Uint8Array([255, 255, 255, 1, 2, 3]), Buffer.from("{}")];
  const targets = [
    subjects.heartbeat(us, edgeId("us-1")),
    subjects.heartbeat(us, edgeId("stranger")),
    subjects.summary(regionId("mars")),
    subjects.desired,
    subjects.desiredGetOf(us),
    subjects.roundOffer(us),
    subjects.roundTaken(us),
    subjects.progress(us, edgeId("us-1")),
  ];
  for (const subject of targets) for (const body of junk) link.publish(subject, body);
  await link.flush();
  await untilReady(region, edge);
  t.is((await summaryOf(region)).edges.length, 1);
  await follow(messagesOf(inferenceOf(t, region).generate(requestFor(5))), new Caller(), 5, t);
  t.is(await region.end("SIGTERM"), 0);
});

test.serial("with all its edges killed in mid-stream, another region goes on", async (t) => {
  const [usLink, euLink] = [await natsOf(t, "us"), await natsOf(t, "eu")];
  const region = await regionOn(t, "us");
  const other = await regionOn(t, "eu");
  const here = [await edgeOn(t, usLink, "us-1", "us"), await edgeOn(t, usLink, "us-2", "us")];
  const there = await edgeOn(t, euLink, "eu-1", "eu");
  await untilReady(region, ...here);
  await untilReady(other, there);
  // Neither was told the other's address: the summaries do that.
  const channel = openChannel(region.grpc, patient);
  t.teardown(() => channel.close());
  await eventually("us reaches eu", async () => {
    const { regions } = await createClient(Discovery, channel).getTopology({});
    const eu = regions.find((one) => one.region === "eu");
    return eu?.reachable && eu.edges.some(({ ready }) => ready);
  });
  const client = inferenceOf(t, region);
  const callers = Array.from({ length: 10 }, () => new Caller());
  const streams = callers.map((caller) =>
    follow(messagesOf(client.generate(requestFor(300))), caller, 300, t),
  );
  await eventually("all flow", () => callers.every(({ ids }) => ids.length > 5));
  await Promise.all(here.map((edge) => edge.kill()));
  await Promise.all(streams);
  t.is(there.backend.taken.length, 10);
  await follow(messagesOf(client.generate(requestFor(5))), new Caller(), 5, t);
});

test.serial(
  "with its NATS servers gone it serves on, and knows its edges again after",
  async (t) => {
    const link = await natsOf(t, "us");
    const region = await regionOn(t, "us");
    const edge = await edgeOn(t, link, "us-1", "us");
    await untilReady(region, edge);
    const client = inferenceOf(t, region);
    await Promise.all([topology.kill("us", "j"), topology.kill("us", "g")]);
    // Longer than the periods after which one silent edge among others would be out.
    const caller = new Caller();
    await follow(messagesOf(client.generate(requestFor(800))), caller, 800, t);
    await follow(messagesOf(client.generate(requestFor(5))), new Caller(), 5, t);
    await Promise.all([topology.restart("us", "j"), topology.restart("us", "g")]);
    await topology.linked();
    const late = await edgeOn(t, link, "us-2", "us");
    await untilReady(region, edge, late);
  },
);

test.serial(
  "the desired state survives kill -9 of the region, and reaches the edges",
  async (t) => {
    const link = await natsOf(t, "us");
    const dir = await regionDir(t);
    const config = { name: "us", dir, nats: topology.urls("us"), coordinator: nobody };
    const first = await startRegion(t, config);
    const heard: DesiredState[] = [];
    link.subscribe(subjects.desiredOf(us), ({ body }) => {
      heard.push(fromBinary(DesiredStateSchema, body));
    });
    const say = (revision: bigint) => {
      const desired = { revision, models: [{ model: "m", version: `m@${revision}` }] };
      link.publish(
        subjects.desired,
        toBinary(DesiredStateSchema, create(DesiredStateSchema, desired)),
      );
    };
    await eventually("the edges hear of it", () => {
      say(7n);
      return heard.some(({ revision }) => revision === 7n);
    });
    say(6n);
    await first.end("SIGKILL");
    heard.length = 0;
    const second = await startRegion(t, config);
    await eventually("told again", () => heard.some(({ revision }) => revision === 7n));
    t.true(heard.every(({ revision }) => revision === 7n));
    const asked = await link.request(subjects.desiredGetOf(us), new Uint8Array(), 2000);
    t.is(fromBinary(DesiredStateSchema, asked).models[0]?.version, "m@7");
    t.is((await summaryOf(second)).desiredRevision, 7n);
    const bucket = await link.kv("us", "isthmus_desired");
    await eventually("KV holds it", async () =>
      (await bucket.get("state"))?.string().includes("m@7"),
    );
    await second.end("SIGTERM");
    const elsewhere = await regionDir(t);
    const third = await startRegion(t, { ...config, dir: elsewhere });
    await eventually("a region without its disk finds it in KV", async () => {
      return (await summaryOf(third)).desiredRevision === 7n;
    });
  },
);

test.serial(
  "an artifact is fetched from the coordinator once, then served from here",
  async (t) => {
    const log = silentLog();
    const store = createArtifactStore({ dir: await regionDir(t) });
    const bytes = Buffer.alloc(100_000, "isthmus");
    const { createHash } = await import("node:crypto");
    const name = createHash("sha256").update(bytes).digest("hex") as Sha256;
    const writer = await store.write(name, bytes.byteLength);
    await writer.write(bytes);
    await writer.commit();
    const app = artifactRoutes(store);
    const coordinator = await startHttpServer({ host: "127.0.0.1", port: 0, app, log });
    const http = `http://127.0.0.1:${coordinator.port}`;
    const region = await regionOn(t, "us", { coordinator: { http } });
    const get = async () => {
      const response = await fetch(`${region.http}/v1/artifacts/${name}`);
      if (response.status !== 200) throw new Error(`status ${response.status}`);
      return Buffer.from(await response.arrayBuffer());
    };
    t.deepEqual(await eventually("it is pulled", get), bytes);
    await coordinator.stop();
    t.deepEqual(await get(), bytes);
  },
);

test.serial("a wrong key in the configuration is named, and nothing starts", async (t) => {
  const dir = await regionDir(t);
  const config = { name: "us", dir, nats: ["nats://x"], coordinator: nobody, spil: true };
  await t.throwsAsync(startRegion(t, config), { message: /ended before it was ready/ });
  const busy = createServer();
  await new Promise<void>((resolve) => busy.listen(0, "127.0.0.1", resolve));
  t.teardown(() => busy.close());
  const { port } = busy.address() as { port: number };
  const taken = { name: "us", dir, nats: ["nats://127.0.0.1:9"], coordinator: nobody };
  const http = { host: "127.0.0.1", port };
  await t.throwsAsync(startRegion(t, { ...taken, http }), { message: /ended before/ });
});
