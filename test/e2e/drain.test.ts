// An edge is taken out of service under callers' streams and brought back, by an operator, on a
// real mesh: nothing is lost, and what is told of it is so.
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import test from "ava";
import type { DrainState } from "../../coordinator/api/drain-routes.ts";
import { eventually } from "../support/eventually.ts";
import {
  grpcDoor,
  listRequest,
  prompts,
  proveStreams,
  runStreams,
  type StreamRecord,
} from "./stream-set.ts";
import { startTestMesh, type TestMesh } from "./test-mesh.ts";

const STREAMS = 16;
/** How many streams must be midway on one edge before it is drained. */
const MIDWAY = 3;
/** Drains before a test gives up on finding a stream midway. */
const ATTEMPTS_MAX = 10;
const isthmus = join(import.meta.dirname, "../../coordinator/cli/isthmus.mjs");
const run = promisify(execFile);
let mesh: TestMesh;

test.before(async (t) => {
  t.timeout(180_000);
  mesh = await startTestMesh({ regions: ["us", "eu"], edges: 2 });
  await eventually("the coordinator knows the edges", async () => {
    const answer = await fetch(`${mesh.http("coordinator")}/v1/edges`);
    const { edges } = (await answer.json()) as { edges: { alive: boolean }[] };
    return edges.filter(({ alive }) => alive).length === 4;
  });
});

test.after.always(async () => {
  await mesh?.[Symbol.asyncDispose]();
});

const regionOf = (edge: string) => edge.slice(0, edge.lastIndexOf("-"));

async function drainOf(edge: string, method = "GET", body?: object): Promise<DrainState> {
  const url = `${mesh.http("coordinator")}/v1/edges/${regionOf(edge)}/${edge}/drain`;
  const answer = await fetch(url, body ? { method, body: JSON.stringify(body) } : { method });
  if (!answer.ok) throw new Error(await answer.text());
  return (await answer.json()) as DrainState;
}

async function command(...args: string[]): Promise<string> {
  const coordinator = ["--coordinator", mesh.http("coordinator")];
  const { stdout } = await run(process.execPath, [isthmus, "edges", ...args, ...coordinator]);
  return stdout;
}

/**
 * Drains the first edge on which several streams are midway, of whichever region: one that was
 * drained just before is trusted again step by step.
 */
function drainMidway(graceMs: number) {
  const midway = new Map<string, Set<StreamRecord>>();
  const drained = Promise.withResolvers<string>();
  let edge = "";
  const onEvent = (record: StreamRecord, { event }: { event: { case: string | undefined } }) => {
    const serving = record.started?.edge ?? "";
    const streams = midway.get(serving) ?? new Set();
    midway.set(serving, streams);
    if (event.case === "finished") streams.delete(record);
    if (event.case !== "tokens" || record.ids.length < 2) return;
    streams.add(record);
    if (edge !== "" || streams.size < MIDWAY) return;
    edge = serving;
    drainOf(edge, "POST", { graceMs }).then(() => drained.resolve(edge), drained.reject);
  };
  return { onEvent, drained: drained.promise, isStruck: () => edge !== "" };
}

const idle = (edge: string) =>
  eventually(`${edge} is idle`, async () => {
    const { draining, inFlight } = await drainOf(edge);
    return draining && inFlight === 0;
  });

const movesOf = (records: readonly StreamRecord[]) =>
  records.flatMap(({ finished }) => finished?.moves ?? []);

test.serial(
  "drained without a grace, its streams go on elsewhere: complete, none lost",
  async (t) => {
    t.timeout(240_000);
    const door = grpcDoor(mesh.grpc("us"));
    const undisturbed = await runStreams(door.open, prompts(STREAMS));
    let moved = 0;
    for (let attempt = 1; attempt <= ATTEMPTS_MAX && moved === 0; attempt++) {
      const drain = drainMidway(0);
      const records = await runStreams(door.open, prompts(STREAMS), drain.onEvent);
      await proveStreams(t, records, undisturbed, mesh.grpc("eu"));
      if (!drain.isStruck()) continue;
      const edge = await drain.drained;
      await idle(edge);
      const moves = movesOf(records);
      moved = moves.length;
      for (const { cause, fromEdge, toEdge } of moves) {
        t.is(cause, "draining");
        t.is(fromEdge, edge);
        t.not(toEdge, edge);
      }
      await drainOf(edge, "DELETE");
      await mesh.sees(regionOf(edge), 2);
    }
    t.true(moved > 0, "no drain found a stream midway");
    door.close();
  },
);

test.serial("within the grace streams end where they are, and new ones go elsewhere", async (t) => {
  t.timeout(240_000);
  // Long answers: some are midway whenever one looks.
  const door = grpcDoor(mesh.grpc("us"), listRequest);
  const lists = Array.from({ length: STREAMS }, (_, n) => `list the colors, number ${n}`);
  const drain = drainMidway(120_000);
  const records = await runStreams(door.open, lists, drain.onEvent);
  t.true(drain.isStruck(), "no drain found streams midway");
  const edge = await drain.drained;
  for (const { finished } of records) t.truthy(finished);
  t.deepEqual(
    movesOf(records).filter(({ fromEdge }) => fromEdge === edge),
    [],
  );
  await idle(edge);
  await mesh.sees(regionOf(edge), 1);
  const readiness = await fetch(`${mesh.http(edge)}/readyz`);
  t.is(readiness.status, 503);
  t.regex(await readiness.text(), /draining/);
  // Its own callers are served as well, by others.
  const own = grpcDoor(mesh.grpc(edge));
  for (const { open } of [door, own]) {
    for (const { started, finished } of await runStreams(open, prompts(4))) {
      t.truthy(finished);
      t.not(started?.edge, edge);
    }
  }
  own.close();
  await drainOf(edge, "DELETE");
  await mesh.sees(regionOf(edge), 2);
  t.is((await fetch(`${mesh.http(edge)}/readyz`)).status, 200);
  door.close();
});

test.serial(
  "by command: it waits until the edge is idle, and undrain brings it back",
  async (t) => {
    t.timeout(120_000);
    t.regex(await command("drain", "us-1", "--grace", "10s", "--wait"), /us-1 is idle/);
    t.like(await drainOf("us-1"), { draining: true, inFlight: 0 });
    await mesh.sees("us", 1);
    const listed = await eventually("the list says so", async () => {
      const edges = await command("ls", "--region", "us");
      return edges.includes("draining") && edges;
    });
    t.regex(listed, /us-1 +draining/);
    t.regex(await command("undrain", "us-1"), /us-1 takes requests again/);
    await mesh.sees("us", 2);
    const own = grpcDoor(mesh.grpc("us-1"));
    const [record] = await runStreams(own.open, prompts(1));
    t.is(record?.started?.edge, "us-1");
    own.close();
  },
);

test.serial(
  "an edge that is started again isn't draining; one that is gone can't be asked",
  async (t) => {
    t.timeout(120_000);
    await drainOf("us-2", "POST", { graceMs: 0 });
    await mesh.handle.kill("us-2", "SIGKILL");
    await t.throwsAsync(drainOf("us-2"), { message: /unavailable|link-lost/ });
    await mesh.revive("us-2");
    await mesh.sees("us", 2);
    t.like(await drainOf("us-2"), { draining: false });
  },
);

test.serial("wrong orders are refused by name", async (t) => {
  await t.throwsAsync(drainOf("us-9", "POST", {}), { message: /not-found/ });
  await t.throwsAsync(drainOf("us-1", "POST", { graceMs: -1 }), { message: /graceMs/ });
  await t.throwsAsync(drainOf("us-1", "POST", { grace: 1 }), { message: /invalid-argument/ });
  const refused = await t.throwsAsync(command("drain", "us-1", "--grace", "soon"));
  t.regex(String((refused as Error & { stderr?: string }).stderr), /--grace must be a time/);
  await t.throwsAsync(command("drain", "nobody"), { message: /there is no edge nobody/ });
});
