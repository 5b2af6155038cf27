// Streams outlive their node, a region outlives its edges, serving outlives the coordinator and the
// nats-servers: on a real mesh of three regions, with real signals.
import anyTest, { type ExecutionContext, type TestFn } from "ava";
import { connect } from "../../client/index.ts";
import { eventually } from "../support/eventually.ts";
import {
  chatRequest,
  grpcDoor,
  movedOf,
  type OpenStream,
  prompts,
  proveStreams,
  runStreams,
  strikeOnce,
} from "./stream-set.ts";
import { startTestMesh, type TestMesh } from "./test-mesh.ts";

const STREAMS = 20;
/** How many streams must be midway on one edge before the blow falls on it. */
const MIDWAY = 4;

/** Blows dealt before a test gives up on finding a stream midway. */
const ATTEMPTS_MAX = 12;

interface Blow {
  readonly open: OpenStream;
  strike(edge: string): Promise<void>;
  /** Makes the mesh whole again. */
  restore(edge: string): Promise<void>;
  /** host:port of an edge or gateway that scores what was delivered. */
  readonly judge: string;
}

const test = anyTest as TestFn<{ mesh: TestMesh }>;
let mesh: TestMesh;

test.before(async (t) => {
  t.timeout(180_000);
  mesh = await startTestMesh();
});

test.after.always(async () => {
  await mesh?.[Symbol.asyncDispose]();
});

async function withGateway<T>(region: string, use: (open: OpenStream) => Promise<T>): Promise<T> {
  const door = grpcDoor(mesh.grpc(region));
  try {
    return await use(door.open);
  } finally {
    door.close();
  }
}

/**
 * Strikes an edge under twenty streams, restores it, and proves every stream. The demo model's
 * answers are short: when all were out before the blow fell, it is dealt again.
 */
async function proveBlow(
  t: ExecutionContext,
  { open, strike, restore, judge }: Blow,
): Promise<void> {
  const undisturbed = await runStreams(open, prompts(STREAMS));
  for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt += 1) {
    const blow = strikeOnce(MIDWAY, (edge) => void strike(edge));
    const records = await runStreams(open, prompts(STREAMS), blow.onEvent);
    if (blow.edge !== "") await restore(blow.edge);
    await proveStreams(t, records, undisturbed, judge);
    if (movedOf(records).length > 0) return;
  }
  t.fail(`none of ${ATTEMPTS_MAX} blows found a stream midway`);
}

test.serial("twenty streams outlive the kill -9 of the edge that serves them", async (t) => {
  t.timeout(240_000);
  await withGateway("us", (open) =>
    proveBlow(t, {
      open,
      strike: (edge) => mesh.handle.kill(edge, "SIGKILL"),
      restore: async (edge) => {
        await mesh.revive(edge);
        await mesh.sees("us", 2);
      },
      judge: mesh.grpc("eu-1"),
    }),
  );
});

test.serial("twenty streams outlive an edge that freezes", async (t) => {
  t.timeout(240_000);
  await withGateway("us", (open) =>
    proveBlow(t, {
      open,
      strike: (edge) => mesh.handle.kill(edge, "SIGSTOP"),
      restore: async (edge) => {
        await mesh.handle.kill(edge, "SIGCONT");
        await mesh.sees("us", 2);
      },
      judge: mesh.grpc("eu-1"),
    }),
  );
});

test.serial("twenty streams of the SDK outlive the edge that it had chosen", async (t) => {
  t.timeout(240_000);
  const client = await connect({ seeds: [mesh.grpc("eu-1"), mesh.grpc("eu-2")] });
  t.teardown(() => client.close());
  await proveBlow(t, {
    open: (prompt) => client.generate(chatRequest(prompt)),
    strike: (edge) => mesh.handle.kill(edge, "SIGKILL"),
    restore: (edge) => mesh.revive(edge),
    judge: mesh.grpc("us"),
  });
});

test.serial("a region without edges serves through another region", async (t) => {
  t.timeout(120_000);
  await Promise.all(["us-1", "us-2"].map((edge) => mesh.handle.kill(edge, "SIGKILL")));
  await withGateway("us", async (open) => {
    const records = await runStreams(open, prompts(8));
    for (const { started, finished } of records) {
      t.truthy(finished);
      t.not(started?.region, "us");
    }
  });
  await Promise.all(["us-1", "us-2"].map((edge) => mesh.revive(edge)));
  await mesh.sees("us", 2);
  await withGateway("us", async (open) => {
    // Edges that have just failed are trusted again step by step.
    await eventually("and by itself again once an edge is back", async () => {
      const [record] = await runStreams(open, prompts(1));
      return record?.started?.region === "us";
    });
  });
});

test.serial("serving goes on without the coordinator, and it comes back knowing all", async (t) => {
  t.timeout(120_000);
  const catalogue = async () => {
    const answer = await fetch(`${mesh.http("coordinator")}/v1/models`);
    const { models } = (await answer.json()) as { models: Record<string, unknown>[] };
    // Who serves what at this moment isn't part of what must be remembered.
    return models.map(({ rollout: _, ...remembered }) => remembered);
  };
  const before = await catalogue();
  t.like(before[0], { model: "commands", served: "commands@1" });
  await mesh.handle.kill("coordinator", "SIGKILL");
  await withGateway("eu", async (open) => {
    for (const { finished } of await runStreams(open, prompts(4))) t.truthy(finished);
  });
  await mesh.revive("coordinator");
  t.deepEqual(await eventually("the catalogue answers", catalogue), before);
});

test.serial("serving outlives a nats-server, and membership recovers", async (t) => {
  t.timeout(180_000);
  const servers = mesh.handle.state.processes.filter(
    ({ role, region }) => role === "nats" && region === "ap",
  );
  t.true(servers.length > 0);
  for (const { name } of servers) await mesh.handle.kill(name, "SIGKILL");
  await withGateway("ap", async (open) => {
    for (const { finished } of await runStreams(open, prompts(4))) t.truthy(finished);
  });
  for (const { name } of servers) await mesh.handle.restart(name);
  await mesh.sees("ap", 2);
  await mesh.handle.kill("ap-1", "SIGKILL");
  await mesh.sees("ap", 1);
  await mesh.revive("ap-1");
  await mesh.sees("ap", 2);
});
