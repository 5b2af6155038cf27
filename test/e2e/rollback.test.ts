// Versions that pass the gate and yet are worse for callers, on a real mesh: each is taken back
// from the canary by itself, while streams go on and none is cut; and an edge that was away comes
// back to what was served before.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import type { RolloutView } from "../../coordinator/api/rollout-routes.ts";
import type { ModelRecord, VersionRecord } from "../../coordinator/catalogue/model-record.ts";
import { CoordinatorClient } from "../../coordinator/cli/coordinator-client.ts";
import { isEnded, type RolloutState } from "../../coordinator/rollout/rollout-state.ts";
import { hashFile, uploadArtifact } from "../../sync/artifact/artifact-upload.ts";
import { writeGgufAdapter } from "../../sync/formats/gguf-adapter.ts";
import { readGguf } from "../../sync/formats/gguf-reader.ts";
import type { LoraModule } from "../../sync/formats/lora-adapter.ts";
import { eventually } from "../support/eventually.ts";
import { grpcDoor, isWholeList, listRequest, runStreams } from "./stream-set.ts";
import { startTestMesh, type TestMesh } from "./test-mesh.ts";

type Detail = ModelRecord & { readonly lineage: readonly VersionRecord[] };

const BASE = "deploy/demo-model/commands-q8_0.gguf";
const EDGES = ["us-1", "us-2"];
const DEADLINE_MS = 200_000;
/** A change of nothing at all that takes many times the base's work. */
const SLOW_RANK = 512;

let mesh: TestMesh;
let coordinator: CoordinatorClient;

test.before(async (t) => {
  t.timeout(180_000);
  mesh = await startTestMesh({ regions: ["us"], edges: EDGES.length });
  coordinator = new CoordinatorClient(mesh.http("coordinator"), new AbortController().signal);
});

test.after.always(async () => {
  await mesh?.[Symbol.asyncDispose]();
});

/** Publishes the base with an adapter that changes no logit: B is zero. Returns the version. */
async function publishIdle(rank: number): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "isthmus-adapter-"));
  try {
    const path = join(dir, `idle-${rank}.gguf`);
    const matrices = [...readGguf(BASE).tensors.values()].filter(({ name }) =>
      /^blk\..*(attn|ffn)_(q|k|v|output|gate|up|down)\.weight$/.test(name),
    );
    const modules = matrices.map(({ name, dimensions: [inputs = 0, outputs = 0] }) => {
      const a = new Float32Array(rank * inputs).fill(1e-3);
      const pair: LoraModule = { rank, inputs, outputs, a, b: new Float32Array(outputs * rank) };
      return [name, pair] as const;
    });
    writeGgufAdapter(path, { architecture: "llama", alpha: rank, modules: new Map(modules) });
    const file = await hashFile(path);
    await uploadArtifact(file, coordinator.address);
    const { lineage } = await coordinator.get<Detail>("/v1/models/commands");
    const artifact = { sha256: file.sha256, bytes: file.bytes, name: `idle-${rank}.gguf` };
    const body = { model: "commands", base: lineage[0]!.base, adapters: [{ artifact, scale: 1 }] };
    return (await coordinator.post<{ version: string }>("/v1/models", body)).version;
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

interface Callers {
  /** Streams that ended whole, by the version that served them. */
  readonly whole: Map<string, number>;
  stop(): Promise<void>;
}

/** Long streams at every edge, one after another, each of which must end whole. */
function callEveryEdge(): Callers {
  const whole = new Map<string, number>();
  const stopping = new AbortController();
  const call = async (edge: string) => {
    const { open, close } = grpcDoor(mesh.grpc(edge), listRequest);
    try {
      for (let n = 0; !stopping.signal.aborted; n += 1) {
        const [record] = await runStreams(open, [`list the colors, number ${n}`]);
        if (record?.finished == null || !isWholeList(record.text)) {
          throw new Error(`a stream at ${edge} was cut: ${record?.text}`);
        }
        const version = record.started?.version ?? "";
        whole.set(version, (whole.get(version) ?? 0) + 1);
      }
    } finally {
      close();
    }
  };
  const calls = Promise.all(EDGES.map(call));
  calls.catch(() => undefined);
  return {
    whole,
    stop: async () => {
      stopping.abort();
      await calls;
    },
  };
}

/** Chats at every edge whose callers like some versions and not others. */
function rateEveryEdge(ratingOf: (version: string) => number): Callers {
  const whole = new Map<string, number>();
  const stopping = new AbortController();
  const post = async (url: string, body: object) => {
    const headers = { "content-type": "application/json" };
    const answer = await fetch(url, { method: "POST", headers, body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${url}: ${answer.status} ${await answer.text()}`);
    return answer;
  };
  const call = async (edge: string) => {
    const messages = [{ role: "user", content: "play the next song" }];
    const chat = { model: "commands", messages, max_tokens: 16, temperature: 0 };
    while (!stopping.signal.aborted) {
      const answer = await post(`${mesh.http(edge)}/v1/chat/completions`, chat);
      const told = (await answer.json()) as { id: string; system_fingerprint: string };
      const { id, system_fingerprint: version } = told;
      await post(`${mesh.http(edge)}/v1/feedback`, { id, rating: ratingOf(version) });
      whole.set(version, (whole.get(version) ?? 0) + 1);
    }
  };
  const calls = Promise.all(EDGES.map(call));
  calls.catch(() => undefined);
  return {
    whole,
    stop: async () => {
      stopping.abort();
      await calls;
    },
  };
}

async function promote(version: string, live: object): Promise<void> {
  const gate = { holdMs: 500, patienceMs: 600_000, quietMs: 600_000, live };
  await coordinator.post("/v1/models/commands/promote", { version, gate });
}

function rolloutThat(what: string, is: (rollout: RolloutState) => boolean): Promise<RolloutState> {
  return eventually(
    what,
    async () => {
      const { rollout, health } = await coordinator.get<RolloutView>("/v1/models/commands/rollout");
      if (rollout === null || !is(rollout)) throw new Error(JSON.stringify({ rollout, health }));
      return rollout;
    },
    DEADLINE_MS,
  );
}

const served = async (edge: string) => {
  const { open, close } = grpcDoor(mesh.grpc(edge), listRequest);
  const [record] = await runStreams(open, ["list the colors"]).finally(close);
  return record?.started?.version;
};

test.serial("a version that is as right but slow is taken back from the canary", async (t) => {
  t.timeout(280_000);
  const version = await publishIdle(SLOW_RANK);
  const callers = callEveryEdge();
  await eventually(
    "the incumbent is known",
    () => (callers.whole.get("commands@1") ?? 0) >= 24,
    DEADLINE_MS,
  );
  // About as many as it takes to be sure: after fewer, the next edge would try it too.
  await promote(version, { samples: 30, tpotRatio: 1.3, tpotSlackMs: 0, ttftRatio: 100 });
  const rollout = await rolloutThat("it ends", isEnded);
  t.is(rollout.phase, "rolled-back", rollout.reason);
  t.regex(rollout.reason, /^each token takes /);
  t.log(rollout.reason);
  t.is(rollout.edges.length, 1, "no edge but the canary had it");
  await eventually("the canary serves the incumbent", async () => {
    return (await served(rollout.edges[0]!.slice("us/".length))) === "commands@1";
  });
  await callers.stop();
  t.true((callers.whole.get(version) ?? 0) >= 8, "callers got it from the canary, whole");
  t.deepEqual([...callers.whole.keys()].sort(), ["commands@1", version]);
});

test.serial("a version that callers rate lower is taken back from the canary", async (t) => {
  t.timeout(280_000);
  const version = await publishIdle(1);
  const callers = rateEveryEdge((by) => (by === version ? -1 : 1));
  await promote(version, { samples: 1_000_000, feedbackSamples: 6, feedbackMargin: 0.5 });
  const rollout = await rolloutThat("it ends", isEnded);
  await callers.stop();
  t.is(rollout.phase, "rolled-back", rollout.reason);
  t.regex(rollout.reason, /callers rate it -1\.00, \d+ the incumbent 1\.00; it may be 0\.5 lower/);
  t.is(rollout.edges.length, 1);
});

test.serial(
  "an edge that was away when a version was taken back doesn't serve it again",
  async (t) => {
    t.timeout(280_000);
    const { lineage } = await coordinator.get<Detail>("/v1/models/commands");
    const version = lineage.at(-1)!.version;
    const gate = { holdMs: 500, patienceMs: 600_000, quietMs: 600_000 };
    await coordinator.post("/v1/models/commands/promote", { version, gate, force: true });
    const { edges } = await rolloutThat("an edge tries it", (state) => state.settledMs !== null);
    const canary = edges[0]!.slice("us/".length);
    t.is(await served(canary), version);
    await mesh.handle.kill(canary);
    await coordinator.post("/v1/models/commands/rollback", {});
    await rolloutThat("it is taken back", ({ phase }) => phase === "rolled-back");
    await mesh.revive(canary);
    await eventually(
      "it serves the incumbent",
      async () => {
        return (await served(canary)) === "commands@1";
      },
      DEADLINE_MS,
    );
    t.pass();
  },
);
