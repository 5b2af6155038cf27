// The SDK over real gRPC and links that break.
import test, { type ExecutionContext } from "ava";
import { connect, Fault, type MeshClient } from "../../client/index.ts";
import { pacedTruth } from "../support/paced-backend.ts";
import { type SdkMesh, startSdkMesh } from "./sdk-mesh.ts";

const TOKENS = 300;
const request = {
  model: "m",
  prompt: { case: "text", value: "p" },
  maxTokens: TOKENS,
} as const;

async function connected(t: ExecutionContext, mesh: SdkMesh): Promise<MeshClient> {
  const client = await connect({ seeds: mesh.seeds });
  t.teardown(() => client.close());
  return client;
}

const takenBy = (mesh: SdkMesh, name: string) => mesh.endpoints.get(name)!.backend.taken.length;

for (const blow of ["blackHole", "cut"] as const) {
  test(`a stream goes on in the next region after a ${blow} of its link`, async (t) => {
    const mesh = await startSdkMesh(t, ["us", "eu"]);
    const client = await connected(t, mesh);
    const ids: number[] = [];
    let text = "";
    let from = "";
    let lastMs = 0;
    let gapMs = 0;
    for await (const { event } of client.generate(request)) {
      if (event.case === "started") from = event.value.region;
      if (event.case === "tokens") {
        const nowMs = performance.now();
        if (lastMs > 0) gapMs = Math.max(gapMs, nowMs - lastMs);
        lastMs = nowMs;
        ids.push(...event.value.ids);
        text += event.value.text;
        if (ids.length === 20) mesh.endpoints.get(from)!.link[blow]();
      }
      if (event.case !== "finished") continue;
      t.is(event.value.completionTokens, TOKENS);
      t.is(event.value.moves.length, 1);
      const to = from === "us" ? "eu" : "us";
      t.like(event.value.moves[0], { fromRegion: from, toRegion: to, cause: "link-lost" });
    }
    t.log(`longest gap ${Math.round(gapMs)} ms`);
    t.deepEqual({ ids, text }, pacedTruth(TOKENS));
    t.is(client.endpoints("m")[0]?.region, from === "us" ? "eu" : "us", "it is remembered");
  });
}

test("a residency rule holds to the deadline when the only allowed edge is lost", async (t) => {
  const mesh = await startSdkMesh(t, ["us-1", "eu-1"]);
  const client = await connected(t, mesh);
  const policy = { regions: ["eu"] };
  let tokens = 0;
  const run = async () => {
    for await (const { event } of client.generate({ ...request, policy }, { timeoutMs: 2500 })) {
      if (event.case !== "tokens") continue;
      tokens += 1;
      if (tokens === 20) mesh.endpoints.get("eu-1")!.link.cut();
    }
  };
  const fault = await t.throwsAsync(run, { instanceOf: Fault });
  t.is(fault.code, "deadline-exceeded");
  t.true(tokens >= 20);
  t.is(takenBy(mesh, "us-1"), 0);
});

test("an impossible rule is refused at once, by its name", async (t) => {
  const mesh = await startSdkMesh(t, ["us", "us-1"]);
  const client = await connected(t, mesh);
  const refused = client.complete({ ...request, policy: { regions: ["mars"] } });
  const fault = await t.throwsAsync(refused, { instanceOf: Fault });
  t.like(fault, { code: "failed-precondition", param: "policy.regions" });
});

test("a turn of a session goes to a gateway though an edge is near", async (t) => {
  const mesh = await startSdkMesh(t, ["us", "us-1"]);
  const client = await connected(t, mesh);
  await client.complete({ ...request, maxTokens: 3 });
  t.deepEqual([takenBy(mesh, "us-1"), takenBy(mesh, "us")], [1, 0]);
  await client.complete({ ...request, maxTokens: 3, sessionId: "s" });
  t.deepEqual([takenBy(mesh, "us-1"), takenBy(mesh, "us")], [1, 1]);
});

test("a mesh in trouble gets little more than its usual load from one client", async (t) => {
  const mesh = await startSdkMesh(t, ["us", "eu"]);
  const client = await connected(t, mesh);
  for (const { backend } of mesh.endpoints.values()) {
    backend.failWith(new Fault("engine-crashed", "broken"));
  }
  const asked = 50;
  const runs = Array.from({ length: asked }, () => client.complete({ ...request, maxTokens: 3 }));
  for (const outcome of await Promise.allSettled(runs)) {
    if (outcome.status !== "rejected") throw new Error("it was served");
    t.is((outcome.reason as Fault).code, "engine-crashed");
  }
  const tries = takenBy(mesh, "us") + takenBy(mesh, "eu");
  t.true(tries <= asked * 1.2 + 20, `${tries} tries for ${asked} requests`);
  t.true(tries > asked);
});
