// What a region says of its routing over HTTP, and how `isthmus route explain` shows it.
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { create } from "@bufbuild/protobuf";
import test, { type ExecutionContext } from "ava";
import { Hono } from "hono";
import { RegionSummarySchema } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { Explanation } from "../../../region/gateway/explanation.ts";
import { regionRoutes } from "../../../region/gateway/region-routes.ts";
import { systemClock } from "../../../runtime/clock.ts";
import { startHttpServer } from "../../../runtime/http/server.ts";
import { silentLog } from "../../../runtime/log.ts";
import { modelState } from "../heartbeat-maker.ts";
import { startInProcessRegion } from "../in-process-region.ts";

const launcher = resolve(import.meta.dirname, "../../../coordinator/cli/isthmus.mjs");

/** Edges us-1 (quick), us-2 (reads slowly) and us-3 (draining). */
async function setUp(t: ExecutionContext) {
  const region = await startInProcessRegion(t, "us");
  await region.addEdge("us-1");
  const slow = await region.addEdge("us-2");
  const gone = await region.addEdge("us-3");
  slow.say({ models: [modelState({ prefillTokensPerS: 10 })] });
  gone.say({ draining: true });
  const { edges, peers } = region;
  const inputs = { region: "us", edges, peers, random: () => 0 };
  const summary = () => create(RegionSummarySchema, { region: "us" });
  const strict = { regions: ["eu"] };
  const policies = { everybody: {}, models: {}, tenants: { strict } };
  const routes = regionRoutes({ summary, inputs, clock: systemClock, policies });
  const app = new Hono().route("/", routes as unknown as Hono);
  const log = silentLog();
  const server = await startHttpServer({ host: "127.0.0.1", port: 0, app, log });
  t.teardown(() => server.stop(0));
  const url = `http://127.0.0.1:${server.port}`;
  const post = async (body: object) => {
    const response = await fetch(`${url}/v1/routes/explain`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    return { status: response.status, body: (await response.json()) as Explanation };
  };
  return { region, url, post };
}

function isthmus(cwd: string, ...args: string[]) {
  return new Promise<{ code: number; out: string; err: string }>((done) => {
    execFile(process.execPath, [launcher, ...args], { cwd }, (error, out, err) => {
      done({ code: error === null ? 0 : Number(error.code), out, err });
    });
  });
}

test("a prompt is explained as it would be routed, with what edges hold of it", async (t) => {
  const { region, url, post } = await setUp(t);
  const content = "tell me a long story ".repeat(40);
  const asked = { model: "m", messages: [{ role: "user", content }], max_tokens: 20 };
  const fresh = await post(asked);
  t.is(fresh.status, 200);
  t.is(fresh.body.chosen, "us/us-1");
  t.is(fresh.body.expectedTokens, 20);
  t.deepEqual(
    fresh.body.edges.map(({ edge, candidate }) => [edge, candidate]),
    [
      ["us-1", true],
      ["us-2", true],
      ["us-3", false],
    ],
  );
  t.regex(fresh.body.edges[1]!.reason, /slower than us-1, \d+ of it prefill/);
  t.like(fresh.body.edges[2], { rejection: "status" });
  const got = await fetch(`${url}/v1/routes/explain?model=m&prompt_tokens=214&tenant=strict`);
  const told = (await got.json()) as Explanation;
  t.is(told.chosen, null);
  t.is(told.fault?.code, "failed-precondition");
  t.like(told.edges[0], { rejection: "residency" });
  t.is(region.gateway.inFlight, 0);
});

test("what can't be a request is refused in words", async (t) => {
  const { url, post } = await setUp(t);
  t.is((await post({ model: "m" })).status, 400);
  t.is((await post({ model: "m", prompt_tokens: -1 })).status, 400);
  t.is((await post({ model: "m", prompt_tokens: 5, nonsense: 1 })).status, 400);
  t.is((await fetch(`${url}/v1/routes/explain?model=..`)).status, 400);
});

test("`isthmus route explain` prints a row for each edge, or JSON", async (t) => {
  const { url } = await setUp(t);
  const dir = mkdtempSync(join(tmpdir(), "isthmus-explain-"));
  t.teardown(() => rmSync(dir, { recursive: true }));
  writeFileSync(join(dir, "prompt.txt"), "play the next song ".repeat(50));
  const explain = (...args: string[]) =>
    isthmus(dir, "route", "explain", "--url", url, "--model", "m", ...args);
  const shown = await explain("--prompt-file", "prompt.txt");
  t.is(shown.code, 0, shown.err);
  t.regex(shown.out, /^m from us: 2\d\d tokens to read, about 128 to make → us\/us-1$/m);
  t.regex(shown.out, /^EDGE +TTFT +TOTAL +RTT +QUEUE .* WHY$/m);
  t.regex(shown.out, /^us-1 .* chosen$/m);
  t.regex(shown.out, /^us-2 .* slower than us-1/m);
  t.regex(shown.out, /^us-3 +it is draining/m);
  const json = await explain("--prompt-tokens", "300", "--json");
  t.is(json.code, 0, json.err);
  t.like(JSON.parse(json.out), { promptTokens: 300, chosen: "us/us-1" });
  const refused = await explain("--regions", "eu");
  t.regex(
    refused.out,
    /failed-precondition: policy\.regions = eu: no region of that name is known/,
  );
  t.is((await isthmus(dir, "route", "explain", "--url", url)).code, 2);
  t.is((await explain("--prompt-file", "missing.txt")).code, 2);
});
