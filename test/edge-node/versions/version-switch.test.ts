// A real edge under a region of this test: told over NATS what to serve, fetching over HTTP,
// switching under streams, reporting, leaving, and starting again with nobody above it.
import { createHash } from "node:crypto";
import { createReadStream, readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import test from "ava";
import { CENTRAL } from "../../../deploy/nats/config.ts";
import {
  type Finished,
  type GenerateResponse,
  Inference,
  type Started,
} from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import {
  DesiredStateSchema,
  type Heartbeat,
  HeartbeatSchema,
  type ModelState,
  ModelStatus,
  type ModelVersionSchema,
} from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import {
  EvaluateCommandSchema,
  EvaluateReplySchema,
} from "../../../proto/gen/isthmus/v1/rounds_pb.ts";
import { edgeId, regionId, sha256 } from "../../../proto/ids.ts";
import { subjects } from "../../../proto/subjects.ts";
import { createClient, messagesOf } from "../../../runtime/grpc/bridge.ts";
import { openChannel } from "../../../runtime/grpc/channel.ts";
import { startHttpServer } from "../../../runtime/http/server.ts";
import { silentLog } from "../../../runtime/log.ts";
import { connectNats } from "../../../runtime/nats/connection.ts";
import { artifactRoutes } from "../../../sync/artifact/artifact-routes.ts";
import { createArtifactStore } from "../../../sync/artifact/artifact-store.ts";
import { randomAdapter, randomModel } from "../../models/tiny-model.ts";
import { eventually } from "../../support/eventually.ts";
import { startNatsServer } from "../../support/nats-topology.ts";
import { EdgeProcess } from "../edge-process.ts";
import { summary } from "../serving/served-script.ts";

const region = regionId("us");
const edgeName = edgeId("us-1");
const TOKENS = 400;

type VersionInit = MessageInitShape<typeof ModelVersionSchema>;

/** What stands above the edge: NATS, artifacts over HTTP, the last heartbeat heard. */
async function startAbove() {
  const dir = await mkdtemp(join(tmpdir(), "isthmus-above-"));
  const nats = await startNatsServer();
  const servers = nats.urls(CENTRAL);
  const link = await connectNats({ servers, name: "test region" });
  const store = createArtifactStore({ dir });
  const app = artifactRoutes(store);
  const http = await startHttpServer({ host: "127.0.0.1", port: 0, app, log: silentLog() });
  const put = async (path: string) => {
    const bytes = readFileSync(path);
    const name = sha256(createHash("sha256").update(bytes).digest("hex"));
    await store.put(name, bytes.length, createReadStream(path));
    return { sha256: name, bytes: BigInt(bytes.length), name: "file" };
  };
  const heard: { last: Heartbeat | undefined } = { last: undefined };
  link.subscribe(subjects.heartbeats(region), ({ body }) => {
    heard.last = fromBinary(HeartbeatSchema, body);
  });
  const tell = (revision: number, ...models: VersionInit[]) => {
    const desired = create(DesiredStateSchema, { revision: BigInt(revision), models });
    link.publish(subjects.desiredOf(region), toBinary(DesiredStateSchema, desired));
  };
  const stop = async () => {
    await link.close();
    await http.stop();
    await nats.stop();
    await rm(dir, { recursive: true });
  };
  return { servers, link, http: `http://127.0.0.1:${http.port}`, put, heard, tell, stop };
}

async function stream(edge: EdgeProcess, onTokens: (seen: number) => void = () => {}) {
  const channel = openChannel(edge.grpc);
  const asked = {
    model: "tiny",
    prompt: { case: "text" as const, value: "hello" },
    maxTokens: TOKENS,
    sampling: { temperature: 0 },
  };
  const events: GenerateResponse[] = [];
  let seen = 0;
  for await (const event of messagesOf(createClient(Inference, channel).generate(asked))) {
    events.push(event);
    if (event.event.case !== "tokens") continue;
    seen += event.event.value.ids.length;
    onTokens(seen);
  }
  channel.close();
  const { started, finished, ...told } = summary(events);
  return { ...told, started: started as Started, finished: finished as Finished };
}

test("an edge's life under a region", async (t) => {
  const above = await startAbove();
  const base = await above.put(await randomModel({ contextLength: 4096 }));
  const adapter = await above.put(await randomAdapter());
  const version = (number: number, ...adapters: (typeof adapter)[]): VersionInit => ({
    model: "tiny",
    version: `tiny@${number}`,
    base,
    adapters: adapters.map((artifact) => ({ artifact, scale: 1 })),
  });
  // Nothing listens at the gateway's gRPC address: serving needs nobody above.
  const config = {
    nats: above.servers,
    gateway: { http: above.http, grpc: "127.0.0.1:1" },
  };
  let edge = await EdgeProcess.start(config);
  t.teardown(async () => {
    await edge.destroy();
    await above.stop();
  });
  const { dir } = edge;
  const beat = <T>(claim: string, probe: (beat: Heartbeat) => T) =>
    eventually(claim, () => above.heard.last && probe(above.heard.last));
  const ready = (wanted: string) => (model: ModelState) =>
    model.version === wanted && model.status === ModelStatus.READY;

  // Before anything is wanted it says that it lives, and that it can't serve.
  const early = await beat("it says that it lives", (heartbeat) => heartbeat);
  t.like(early, { edge: "us-1", region: "us", grpc: edge.grpc, http: edge.http });
  t.is(early.publicKey.length, 32);
  t.is((await fetch(`${edge.http}/readyz`)).status, 503);

  // Told a base, it fetches, loads and serves it.
  above.tell(1, version(1));
  await beat("the base is ready", ({ models }) => models.some(ready("tiny@1")));
  await beat("it is reconciled", ({ desiredRevision }) => desiredRevision === 1n);
  t.is((await fetch(`${edge.http}/readyz`)).status, 200);
  const plain = await stream(edge);
  t.is(plain.started.version, "tiny@1");

  // Told a version with an adapter midway, the stream ends undisturbed; the next uses the adapter.
  let isTold = false;
  const across = await stream(edge, (seen) => {
    if (seen < 20 || isTold) return;
    isTold = true;
    for (let revision = 2; revision <= 9; revision++) above.tell(revision, version(2, adapter));
  });
  t.is(across.started.version, "tiny@1");
  t.deepEqual(across.ids, plain.ids);
  await beat("the adapter is ready", ({ models }) => models.some(ready("tiny@2")));
  const adapted = await stream(edge);
  t.is(adapted.started.version, "tiny@2");
  t.notDeepEqual(adapted.ids, plain.ids);
  t.is(edge.enginePids.length, 1);

  // Asked to evaluate the base, it opens it beside what is served, and counts.
  const question = { prompt: "hello", completion: "not what it says" };
  const path = join(dir, "questions.jsonl");
  await writeFile(path, `${JSON.stringify(question)}\n`);
  const command = create(EvaluateCommandSchema, {
    version: version(1),
    dataset: await above.put(path),
  });
  const reply = await above.link.request(
    subjects.evaluate(region, edgeName),
    toBinary(EvaluateCommandSchema, command),
    20_000,
  );
  t.like(fromBinary(EvaluateReplySchema, reply), { examples: 1, exact: 0, failed: "" });
  t.is((await stream(edge)).started.version, "tiny@2");

  // A version that nobody has fails with a reason; what is served goes on.
  const missing = { sha256: sha256("0".repeat(64)), bytes: 5n, name: "nowhere" };
  above.tell(10, version(3, missing));
  const failed = await beat("it says why", ({ models }) =>
    models.find(({ status }) => status === ModelStatus.FAILED),
  );
  t.is(failed.version, "tiny@3");
  t.true(failed.reason.length > 0);
  t.is((await stream(edge)).started.version, "tiny@2");
  above.tell(11, version(2, adapter));
  await beat("it is reconciled again", ({ desiredRevision }) => desiredRevision === 11n);

  // Told to stop, it ends its stream, says that it leaves, and leaves nothing behind.
  const engines = edge.enginePids;
  const last = stream(edge, (seen) => seen === 20 && edge.signal("SIGTERM"));
  await beat("it says that it stops", ({ draining }) => draining);
  t.is((await last).finished.completionTokens, TOKENS);
  t.is(await edge.ended(), 0);
  t.true((await beat("it says goodbye", (heartbeat) => heartbeat)).leaving);
  for (const pid of engines) t.throws(() => process.kill(pid, 0), { code: "ESRCH" });

  // With nobody above it serves what it served.
  const alone = { nats: ["nats://127.0.0.1:1"], gateway: config.gateway };
  edge = await EdgeProcess.start(alone, dir);
  await edge.ready();
  const again = await stream(edge);
  t.is(again.started.version, "tiny@2");
  t.deepEqual(again.ids, adapted.ids);
});
