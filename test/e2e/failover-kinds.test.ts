// Streams of every kind outlive what befalls the mesh: output that a schema constrains, sampling,
// several choices; an engine that freezes behind a live edge, a rollout, a whole region lost.
import { readdirSync, readFileSync } from "node:fs";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import test, { type ExecutionContext } from "ava";
import OpenAI from "openai";
import { connect } from "../../client/index.ts";
import { CoordinatorClient } from "../../coordinator/cli/coordinator-client.ts";
import { hashFile, uploadArtifact } from "../../sync/artifact/artifact-upload.ts";
import { eventually } from "../support/eventually.ts";
import {
  grpcDoor,
  isWholeList,
  listRequest,
  listSchema,
  movedOf,
  type OpenStream,
  prompts,
  runStreams,
  type StreamRecord,
  strikeOnce,
} from "./stream-set.ts";
import { startTestMesh, type TestMesh } from "./test-mesh.ts";

/** How many streams must be midway on one edge before the blow falls on it. */
const MIDWAY = 2;
/** Blows dealt before a test gives up on finding the streams that it wants midway. */
const ATTEMPTS_MAX = 10;
const OTHER_BASE = fileURLToPath(
  new URL("../../deploy/demo-model/commands-q4_0.gguf", import.meta.url),
);

let mesh: TestMesh;

test.before(async (t) => {
  t.timeout(240_000);
  mesh = await startTestMesh({ regions: ["us", "eu"] });
});

test.after.always(async () => {
  await mesh?.[Symbol.asyncDispose]();
});

/** Every stream is whole, as the schema asks, each token counted once, and every move told. */
function proveLists(t: ExecutionContext, records: readonly StreamRecord[]): void {
  for (const { finished, ids, text, started } of records) {
    if (finished === null || started === null) {
      t.fail("a stream ended without its first or last event");
      continue;
    }
    t.true(isWholeList(text), text);
    t.is(finished.completionTokens, ids.length);
    t.is(finished.promptTokens, started.promptTokens);
    for (const { fromEdge, toEdge, fromRegion, toRegion, cause } of finished.moves) {
      t.not(fromEdge, toEdge);
      t.regex(fromEdge, new RegExp(`^${fromRegion}-`));
      t.regex(toEdge, new RegExp(`^${toRegion}-`));
      t.not(cause, "");
    }
  }
}

const moved = (records: readonly StreamRecord[]) => movedOf(records).length;

/**
 * One chat request for two choices through the gateway's HTTP door; how often either moved. Those
 * that stream are in `midway`.
 */
async function runChoices(
  t: ExecutionContext,
  prompt: string,
  midway: Set<string>,
): Promise<number> {
  const openai = new OpenAI({ baseURL: `${mesh.http("us")}/v1`, apiKey: "none", maxRetries: 0 });
  const stream = await openai.chat.completions.create({
    model: "commands",
    messages: [{ role: "user", content: prompt }],
    n: 2,
    temperature: 0.8,
    seed: 11,
    max_completion_tokens: 600,
    stream: true,
    stream_options: { include_usage: true },
    response_format: { type: "json_schema", json_schema: { name: "list", schema: listSchema } },
  });
  const texts = ["", ""];
  const reasons: string[] = [];
  let moves = 0;
  for await (const chunk of stream) {
    for (const { index, delta, finish_reason } of chunk.choices) {
      texts[index] += delta.content ?? "";
      const choice = `${prompt} ${index}`;
      if (finish_reason === null) midway.add(choice);
      else {
        midway.delete(choice);
        reasons.push(finish_reason);
      }
    }
    const { isthmus } = chunk as { isthmus?: { moves?: unknown[] } };
    moves += isthmus?.moves?.length ?? 0;
  }
  t.deepEqual(reasons, ["stop", "stop"]);
  for (const text of texts) t.true(isWholeList(text), text);
  return moves;
}

test.serial(
  "constrained, sampled and several choices go on when their edge is killed",
  async (t) => {
    t.timeout(240_000);
    const greedy = grpcDoor(mesh.grpc("us"), (prompt) => listRequest(prompt));
    const sampled = grpcDoor(mesh.grpc("us"), (prompt) =>
      listRequest(prompt, { temperature: 0.8, seed: 7 }),
    );
    const movedKinds = { greedy: 0, sampled: 0, choices: 0 };
    for (let attempt = 1; Object.values(movedKinds).includes(0); attempt += 1) {
      if (attempt > ATTEMPTS_MAX)
        return t.fail(`not all kinds moved: ${JSON.stringify(movedKinds)}`);
      const midway = new Set<string>();
      const kill = (edge: string) => void mesh.handle.kill(edge, "SIGKILL");
      const blow = strikeOnce(MIDWAY, kill, () => midway.size >= MIDWAY);
      const [first, second, ...choices] = await Promise.all([
        runStreams(greedy.open, prompts(4), blow.onEvent),
        runStreams(sampled.open, prompts(4), blow.onEvent),
        ...prompts(4).map((prompt) => runChoices(t, prompt, midway)),
      ]);
      if (blow.edge !== "") await mesh.revive(blow.edge);
      await mesh.sees("us", 2);
      proveLists(t, [...first, ...second]);
      movedKinds.greedy += moved(first);
      movedKinds.sampled += moved(second);
      movedKinds.choices += choices.reduce((sum, moves) => sum + moves, 0);
    }
    t.log("moved mid-stream:", movedKinds);
    greedy.close();
    sampled.close();
  },
);

/** The engine's process below an edge's. */
function engineOf(edge: string): number {
  const { pid: parent } = mesh.handle.process(edge);
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const parentOf = readFileSync(`/proc/${name}/stat`, "utf8")
        .replace(/^.*\) /s, "")
        .split(" ");
      const command = readFileSync(`/proc/${name}/cmdline`, "utf8");
      if (Number(parentOf[1]) === parent && command.includes("llama/child.ts")) return Number(name);
    } catch {
      // It has just ended.
    }
  }
  throw new Error(`${edge} has no engine`);
}

async function proveMoved(
  t: ExecutionContext,
  open: OpenStream,
  strike: (edge: string) => void,
  restore: (edge: string) => Promise<void>,
): Promise<readonly StreamRecord[]> {
  for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt += 1) {
    const blow = strikeOnce(MIDWAY, strike);
    const lastMs = new Map<StreamRecord, number>();
    let struckMs = 0;
    let lateMs = 0;
    const records = await runStreams(open, prompts(8), (record, event) => {
      blow.onEvent(record, event);
      if (blow.edge === "" || event.event.case !== "tokens") return;
      if (struckMs === 0) struckMs = performance.now();
      const gapMs = performance.now() - (lastMs.get(record) ?? struckMs);
      lastMs.set(record, performance.now());
      lateMs = Math.max(lateMs, gapMs);
    });
    if (blow.edge !== "") await restore(blow.edge);
    proveLists(t, records);
    if (moved(records) === 0) continue;
    t.log(`${moved(records)} of ${records.length} moved; longest gap ${Math.round(lateMs)} ms`);
    return movedOf(records);
  }
  t.fail(`none of ${ATTEMPTS_MAX} blows found a stream midway`);
  return [];
}

for (const door of ["us", "us-1"]) {
  test.serial(`an engine frozen behind a live edge is found by way of ${door}`, async (t) => {
    t.timeout(240_000);
    const { open, close } = grpcDoor(mesh.grpc(door), (prompt) => listRequest(prompt));
    let engine = 0;
    const records = await proveMoved(
      t,
      open,
      (edge) => {
        engine = engineOf(edge);
        process.kill(engine, "SIGSTOP");
      },
      async () => {
        process.kill(engine, "SIGCONT");
        await mesh.sees("us", 2);
      },
    );
    const moves = records.flatMap(({ finished }) => finished?.moves ?? []);
    const causes = moves.map(({ cause }) => cause);
    t.true(causes.includes("engine-crashed"), causes.join());
    close();
  });
}

test.serial("a hedged request whose edge is late is served by another, and counted", async (t) => {
  t.timeout(240_000);
  const hedged = (prompt: string) => listRequest(prompt, { temperature: 0 }, { hedge: true });
  const door = grpcDoor(mesh.grpc("us"), hedged);
  // An edge that has just failed is kept out for a while: take one that is being sent requests.
  const [before] = await runStreams(door.open, prompts(1));
  const late = before?.started?.edge ?? "";
  const engine = engineOf(late);
  process.kill(engine, "SIGSTOP");
  const records: StreamRecord[] = [];
  try {
    for (let round = 0; round < ATTEMPTS_MAX; round += 1) {
      records.push(...(await runStreams(door.open, prompts(4))));
      if (records.some(({ finished }) => (finished?.hedges ?? 0) > 0)) break;
    }
  } finally {
    process.kill(engine, "SIGCONT");
    door.close();
  }
  await mesh.sees("us", 2);
  proveLists(t, records);
  const raced = records.filter(({ finished }) => (finished?.hedges ?? 0) > 0);
  t.true(raced.length > 0, "a second edge was started");
  for (const { finished, started } of raced) {
    t.is(finished?.hedges, 1);
    t.not(started?.edge, late, "the caller is told of the one that won");
  }
  t.log(`${raced.length} of ${records.length} were raced`);
});

test.serial("streams of the SDK outlive their whole region", async (t) => {
  t.timeout(240_000);
  const client = await connect({ seeds: [mesh.grpc("us"), mesh.grpc("eu")] });
  const regionOf = (edge: string) => edge.replace(/-\d+$/, "");
  const members = (edge: string) =>
    mesh.handle.state.processes
      .filter(({ role, region }) => region === regionOf(edge) && role !== "nats")
      .map(({ name }) => name);
  let lost: string[] = [];
  const records = await proveMoved(
    t,
    (prompt) => client.generate(listRequest(prompt)),
    (edge) => {
      lost = members(edge);
      for (const name of lost) void mesh.handle.kill(name, "SIGKILL");
    },
    async (edge) => {
      t.is(lost.length, 3);
      const region = regionOf(edge);
      await mesh.revive(region);
      await Promise.all(lost.filter((name) => name !== region).map((name) => mesh.revive(name)));
      await mesh.sees(region, 2);
    },
  );
  for (const { finished } of records) {
    const last = finished?.moves.at(-1);
    t.not(last?.toRegion, finished?.moves[0]?.fromRegion);
  }
  client.close();
});

test.serial("a rollout that replaces the engine under long streams loses none", async (t) => {
  t.timeout(240_000);
  const stop = new AbortController();
  const coordinator = new CoordinatorClient(mesh.http("coordinator"), stop.signal);
  const door = grpcDoor(mesh.grpc("us"), (prompt) => listRequest(prompt));
  const records: StreamRecord[] = [];
  const versions = () => new Set(records.map(({ started }) => started?.version));
  let isOver = false;
  const callers = [0, 1, 2].map(async (caller) => {
    while (!isOver) {
      const [record] = await runStreams(door.open, [prompts(3)[caller]!]);
      records.push(record!);
    }
  });
  try {
    const file = await hashFile(OTHER_BASE);
    await uploadArtifact(file, coordinator.address, { signal: stop.signal });
    const base = { sha256: file.sha256, bytes: file.bytes, name: basename(OTHER_BASE) };
    const { version } = await coordinator.post<{ version: string }>("/v1/models", {
      model: "commands",
      base,
    });
    await coordinator.post("/v1/models/commands/rollout", { version });
    await eventually("every caller is served by the new version", () => {
      return (
        records.slice(-6).length === 6 &&
        records.slice(-6).every(({ started }) => {
          return started?.version === version;
        })
      );
    });
    t.deepEqual([...versions()], ["commands@1", version]);
  } finally {
    isOver = true;
    await Promise.all(callers);
    stop.abort();
    door.close();
  }
  proveLists(t, records);
  t.log(`${records.length} streams, ${moved(records)} of them moved`);
});
