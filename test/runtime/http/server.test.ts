// The HTTP server as its callers see it: system routes, faults, slow peers, stopping.
import test from "ava";
import { Hono } from "hono";
import { Fault } from "../../../proto/fault.ts";
import { startHttpServer } from "../../../runtime/http/server.ts";
import { systemRoutes } from "../../../runtime/http/system-routes.ts";
import { silentLog } from "../../../runtime/log.ts";
import { createMetrics } from "../../../runtime/metrics.ts";
import { rawAll, rawSocket } from "../../support/raw-http.ts";

const host = "127.0.0.1";
const log = silentLog();

test("a role's own routes tell whether it lives, is ready, and its metrics", async (t) => {
  let reason: string | null = "no model is loaded";
  const metrics = createMetrics({ role: "test" });
  const app = systemRoutes({ ready: () => reason, metrics });
  const server = await startHttpServer({ host, port: 0, app, log });
  const get = (path: string) => fetch(`http://${host}:${server.port}${path}`);
  t.is((await get("/healthz")).status, 200);
  const notYet = await get("/readyz");
  t.is(notYet.status, 503);
  t.deepEqual(await notYet.json(), { ready: false, reason });
  reason = null;
  t.is((await get("/readyz")).status, 200);
  const exposition = await get("/metrics");
  t.regex(exposition.headers.get("content-type") ?? "", /^text\/plain/);
  t.regex(await exposition.text(), /^process_cpu_seconds_total/m);
  await server.stop();
});

test("a thrown fault gets its status, and a bug is a 500 that tells nothing", async (t) => {
  const app = new Hono();
  app.get("/full", () => {
    throw new Fault("overloaded", "Full", { retryAfterMs: 1 });
  });
  app.get("/bug", () => {
    throw new TypeError("secret");
  });
  const server = await startHttpServer({ host, port: 0, app, log });
  const full = await fetch(`http://${host}:${server.port}/full`);
  t.is(full.status, 429);
  t.is(full.headers.get("retry-after"), "1");
  const bug = await fetch(`http://${host}:${server.port}/bug`);
  t.is(bug.status, 500);
  t.notRegex(await bug.text(), /secret/);
  await server.stop();
});

test("a peer that dribbles its headers is dropped", async (t) => {
  const server = await startHttpServer({ host, port: 0, app: new Hono(), log });
  const socket = rawSocket(`http://${host}:${server.port}`);
  socket.write("GET / HTTP/1.1\r\nho");
  t.regex(await rawAll(socket), /^(HTTP\/1\.1 408|$)/); // resolves when the server closes
  await server.stop();
});

test("a server that stops lets an answer under way finish within its grace", async (t) => {
  const going = Promise.withResolvers<void>();
  const finish = Promise.withResolvers<void>();
  const app = new Hono();
  app.get("/", async (c) => {
    going.resolve();
    await finish.promise;
    return c.text("done");
  });
  const server = await startHttpServer({ host, port: 0, app, log });
  const url = `http://${host}:${server.port}/`;
  const answer = fetch(url);
  await going.promise;
  const stopped = server.stop(60_000);
  await t.throwsAsync(fetch(url));
  finish.resolve();
  t.is(await (await answer).text(), "done");
  await stopped;
});

test("a server that stops without grace cuts what is under way", async (t) => {
  const going = Promise.withResolvers<void>();
  const app = new Hono();
  app.get("/", () => {
    going.resolve();
    return new Promise<Response>(() => {});
  });
  const server = await startHttpServer({ host, port: 0, app, log });
  const answer = t.throwsAsync(fetch(`http://${host}:${server.port}/`));
  await going.promise;
  await server.stop();
  await answer;
});

test("a port that is taken is an error that names it", async (t) => {
  const app = new Hono();
  const first = await startHttpServer({ host, port: 0, app, log });
  const { port } = first;
  await t.throwsAsync(startHttpServer({ host, port, app, log }), {
    message: new RegExp(`${host}:${port}`),
  });
  await first.stop();
});
