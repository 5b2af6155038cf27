// The emulated network as a process, with real gRPC and NATS through it, moved by the command.
import { execFile } from "node:child_process";
import { join, resolve } from "node:path";
import { Client, credentials } from "@grpc/grpc-js";
import test from "ava";
import type { LinkView } from "../../../deploy/wan/wan-link.ts";
import { startGrpcServer } from "../../../runtime/grpc/server.ts";
import { silentLog } from "../../../runtime/log.ts";
import { connectNats } from "../../../runtime/nats/connection.ts";
import { eventually } from "../../support/eventually.ts";
import { startNatsServer } from "../../support/nats-topology.ts";
import { startWanProcess } from "./wan-process.ts";

const root = resolve(import.meta.dirname, "../../..");
const RTT_MS = 60;

/** A process with a way from eu to each target, in us, and the command to move it with. */
async function startWan(targets: readonly string[]) {
  const process = await startWanProcess(targets, { rttMs: RTT_MS, jitterMs: 0, lossRate: 0 });
  const { http } = process;
  return {
    ...process,
    /** Runs `isthmus wan`. */
    wan: (...args: string[]) => isthmus(process.dir, { ISTHMUS_WAN: http }, "wan", ...args),
    links: async () => (await (await fetch(`${http}/links`)).json()) as LinkView[],
  };
}

function isthmus(cwd: string, extra: Record<string, string>, ...args: string[]) {
  const { ISTHMUS_WAN: _, ...env } = process.env;
  return new Promise<{ code: number; out: string; err: string }>((done) => {
    const child = execFile(
      process.execPath,
      [join(root, "coordinator/cli/isthmus.mjs"), ...args],
      { cwd, env: { ...env, ...extra } },
      (error, out, err) => {
        done({ code: error === null ? 0 : Number(child.exitCode ?? -1), out, err });
      },
    );
  });
}

test("gRPC goes through a link, fails by its deadline over a cut one, works healed", async (t) => {
  const server = await startGrpcServer({
    host: "127.0.0.1",
    port: 0,
    services: [],
    log: silentLog(),
  });
  await using set = await startWan([`127.0.0.1:${server.port}`]);
  const client = new Client(set.at(0), credentials.createInsecure());
  const asIs = (bytes: Buffer) => bytes;
  const check = (deadlineMs: number) =>
    new Promise<number>((done, fail) => {
      const options = { deadline: Date.now() + deadlineMs, waitForReady: true };
      const empty = Buffer.alloc(0);
      const answered = (error: Error | null, bytes?: Buffer) =>
        error === null ? done(bytes?.[1] ?? 0) : fail(error);
      client.makeUnaryRequest("/grpc.health.v1.Health/Check", asIs, asIs, empty, options, answered);
    });
  const SERVING = 1;
  t.is(await check(20_000), SERVING);
  const cut = await set.wan("cut", "eu", "us");
  t.is(cut.code, 0, cut.err);
  t.regex(cut.out, /^us - eu +cut +60 +0 +0 % +500 +1 /m);
  await t.throwsAsync(check(500), { message: /DEADLINE_EXCEEDED/ });
  t.is((await set.wan("heal", "eu")).code, 0, "all links of eu");
  t.true((await set.links()).every((link) => !link.cut));
  t.is(await check(20_000), SERVING);
  client.close();
  await server.stop();
});

test("NATS goes through a link at its round trip, not while cut, and then again", async (t) => {
  await using server = await startNatsServer();
  const [url = ""] = server.urls("central");
  await using set = await startWan([new URL(url).host]);
  await using here = await connectNats({ servers: [url], name: "here" });
  await using there = await connectNats({ servers: [`nats://${set.at(0)}`], name: "there" });
  const heard: string[] = [];
  there.subscribe("told", ({ body }) => void heard.push(Buffer.from(body).toString()));
  await there.flush();
  const startMs = performance.now();
  await there.flush();
  t.true(performance.now() - startMs >= RTT_MS - 1);
  here.publish("told", Buffer.from("before"));
  await eventually("it is heard", () => heard.length === 1);
  t.is((await set.wan("cut", "us")).code, 0);
  here.publish("told", Buffer.from("during"));
  await here.flush();
  t.is(heard.length, 1);
  t.is((await set.wan("heal", "us")).code, 0);
  await eventually("what is told later is heard", () => {
    here.publish("told", Buffer.from("after"));
    return heard.includes("after");
  });
  t.is(heard[0], "before");
});

test("the command shows links and reshapes them, and says what it can't do", async (t) => {
  await using set = await startWan([]);
  const listed = await set.wan("ls");
  t.regex(listed.out, /^LINK +STATE +RTT MS +JITTER MS +LOSS +MBIT\/S +CONNECTIONS +MOVED$/m);
  t.regex(listed.out, /^eu - ap +open +160 +8 +0\.05 % +500 +0 +0 B$/m);
  const shape = ["--rtt", "200", "--jitter", "10", "--loss", "0.01", "--bandwidth", "unlimited"];
  const changed = await set.wan("set", "eu", "us", ...shape);
  t.regex(changed.out, /^us - eu +open +200 +10 +1 % +unlimited /m);
  const both = JSON.parse((await set.wan("set", "ap", "--rtt", "5", "--json")).out) as LinkView[];
  t.deepEqual(
    both.map(({ between, rttMs }) => [between.join(), rttMs]),
    [
      ["us,ap", 5],
      ["eu,ap", 5],
    ],
  );
  const cases: [string[], number, RegExp][] = [
    [["cut"], 2, /isthmus wan cut: SITE is missing/],
    [["cut", "us", "us"], 1, /no link joins us and us/],
    [["cut", "us", "mars"], 1, /no link joins us and mars/],
    [["heal", "mars"], 1, /there is no site mars \(us, eu, ap\)/],
    [["set", "us"], 2, /say what to change/],
    [["set", "us", "--rtt", "far"], 2, /--rtt must be a number, not "far"/],
    [["set", "us", "--loss", "3"], 1, /lossRate: Too big/],
    [["ls", "--wan", "nowhere"], 2, /--wan must be http:\/\/host:port/],
  ];
  for (const [args, code, message] of cases) {
    const ran = await set.wan(...args);
    t.is(ran.code, code, args.join(" "));
    t.regex(ran.err, message);
  }
  const lost = await isthmus(set.dir, {}, "wan", "ls");
  t.is(lost.code, 2);
  t.regex(lost.err, /no emulated network is known here\nStart a mesh with `npm start -- --wan`/);
});

test("it is alive, ready and measured, and refuses a wrong change by its key", async (t) => {
  await using set = await startWan([]);
  for (const path of ["/healthz", "/readyz"]) t.true((await fetch(set.http + path)).ok, path);
  const metrics = await (await fetch(`${set.http}/metrics`)).text();
  t.regex(metrics, /^isthmus_wan_rtt_seconds\{link="us\/eu",[^}]*\} 0\.06$/m);
  const body = JSON.stringify({ rtt: 5 });
  const refused = await fetch(`${set.http}/links/us/eu`, { method: "PATCH", body });
  t.is(refused.status, 400);
  t.regex(await refused.text(), /Unrecognized key: \\"rtt\\"/);
  await set.running.stop();
  t.is((await set.running.exited).code, 0);
});
