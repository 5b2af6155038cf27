// Filter, predict, take: what is out is out for a reason, and the least predicted total wins.
import test from "ava";
import { ModelStatus } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { Rejection } from "../../../region/route/decision.ts";
import { anyPolicy, type RouteRequest } from "../../../region/route/route-request.ts";
import { type EdgeFields, gpu, labels, RoutingFixture } from "./routing-fixture.ts";

const rejections: readonly [Rejection, EdgeFields, Partial<RouteRequest>][] = [
  ["model-absent", { heartbeat: { models: [] } }, {}],
  ["model-not-ready", { model: { status: ModelStatus.LOADING } }, {}],
  ["other-version", {}, { version: "m@2" }],
  ["gpu-required", {}, { policy: { ...anyPolicy, gpuRequired: true } }],
  ["preemptible", { heartbeat: labels({ preemptible: true }) }, {}],
  ["full", { model: { active: 8, queued: 32 } }, {}],
  ["too-late", { rttMs: 300 }, { deadlineMs: 200 }],
  ["residency", {}, { policy: { ...anyPolicy, regions: ["eu"] } }],
  ["residency", {}, { policy: { ...anyPolicy, jurisdictions: ["gdpr"] } }],
];
for (const [rejection, fields, request] of rejections) {
  test(`an edge that is out (${rejection}) is never taken: ${JSON.stringify(request)}`, (t) => {
    const mesh = new RoutingFixture({ a: fields });
    t.is(mesh.chosen(request), null);
    t.is(mesh.rejection("a", request), rejection);
  });
}

test("an edge that isn't ready, or was tried, or is gone, gets nothing", (t) => {
  const mesh = new RoutingFixture({ a: {}, b: { rttMs: 500 } });
  t.is(mesh.chosen()?.edge, "a");
  t.is(mesh.chosen({}, 0, new Set(["us/a", "eu/", "eu/b"]))?.edge, "b");
  mesh.table.setStatus("a", "suspect", "its trunk is down");
  t.is(mesh.chosen()?.edge, "b");
  t.is(mesh.rejection("a"), "status");
  mesh.table.remove("b");
  t.is(mesh.chosen(), null);
  mesh.table.remove("a");
  t.is(mesh.chosen(), null);
});

test("an edge that goes leaves the figures of the others as they are", (t) => {
  const mesh = new RoutingFixture({ a: {}, b: { rttMs: 50 }, c: { rttMs: 100 } });
  mesh.table.remove("a");
  t.is(mesh.chosen()?.edge, "b");
  mesh.add("d", { rttMs: 20 });
  t.is(mesh.chosen()?.edge, "d");
  t.is(mesh.chosen()?.terms.rttMs, 20);
});

test("each term makes an edge worse: round trip, queue, prefill, steps, faults, versions", (t) => {
  const base = new RoutingFixture({ a: {} }).chosen()!.totalMs;
  const worse: readonly [string, EdgeFields, Partial<RouteRequest>?][] = [
    ["round trip", { rttMs: 50 }],
    ["queue", { model: { active: 8, queued: 3, remainingTokensMean: 50 } }],
    ["prefill", { model: { prefillTokensPerS: 100 } }],
    ["steps", { model: { decodeTokensPerS: 10 } }],
    ["version", {}, { preferredVersion: "m@7" }],
    ["longer", {}, { expectedTokens: 100 }],
  ];
  for (const [what, fields, request] of worse) {
    t.true(new RoutingFixture({ a: fields }).chosen(request)!.totalMs > base, what);
  }
  const failing = new RoutingFixture({ a: {} });
  failing.fail("a");
  t.true(failing.chosen()!.totalMs > base);
  t.true(failing.terms("a").penaltyMs > 0);
});

test("the whole answer counts: long ones go where tokens come fast, short ones near", (t) => {
  const mesh = new RoutingFixture({
    near: { model: { decodeTokensPerS: 20 } },
    fast: { rttMs: 200, model: { decodeTokensPerS: 100 } },
  });
  t.is(mesh.chosen({ expectedTokens: 2 })?.edge, "near");
  t.is(mesh.chosen({ expectedTokens: 200 })?.edge, "fast");
});

test("what is equal in total but not to the first token is no equal", (t) => {
  const mesh = new RoutingFixture({ a: {}, b: { rttMs: 90 } });
  const request = { expectedTokens: 200 };
  t.is(mesh.chosen(request, 0.99)?.edge, "a");
  const even = new RoutingFixture({ a: {}, b: { rttMs: 2 } });
  t.is(even.chosen(request, 0)?.edge, "a");
  t.is(even.chosen(request, 0.99)?.edge, "b");
});

test("a pinned version filters, the version that began a stream is preferred", (t) => {
  const mesh = new RoutingFixture({
    a: { model: { version: "m@1" }, rttMs: 50 },
    b: { model: { version: "m@2" } },
  });
  t.is(mesh.chosen()?.edge, "b");
  t.is(mesh.chosen({ version: "m@1" })?.edge, "a");
  t.is(mesh.chosen({ preferredVersion: "m@1" })?.edge, "a");
  t.is(mesh.chosen({ version: "m@3" }), null);
});

test("what was sent since the report counts as if reported, until it ends", (t) => {
  const full = { active: 8, remainingTokensMean: 100 };
  const reported = new RoutingFixture({ a: { model: { ...full, queued: 4 } } });
  const sent = new RoutingFixture({ a: { model: full } });
  const handles = [1, 2, 3, 4].map(() => sent.send("a"));
  for (const handle of handles) handle.firstToken(0);
  t.is(sent.terms("a").queueMs, reported.terms("a").queueMs);
  for (const handle of handles) handle.ended(0, { kind: "cancelled" });
  t.is(sent.terms("a").queueMs, new RoutingFixture({ a: { model: full } }).terms("a").queueMs);
});

test("a report doesn't count what can't have reached the edge when it was written", (t) => {
  const mesh = new RoutingFixture({ a: { rttMs: 40 } });
  mesh.send("a");
  mesh.nowMs = 30;
  mesh.beat("a");
  t.is(mesh.table.summary("m", 0)?.freeSlots, 7, "it was on its way");
  mesh.nowMs = 100;
  mesh.beat("a");
  t.is(mesh.table.summary("m", 0)?.freeSlots, 8, "the edge knows best");
});

test("prompts wait behind those sent before, less as time passes, none once all are read", (t) => {
  const mesh = new RoutingFixture({ a: {} });
  const alone = mesh.terms("a").prefillMs;
  const handle = mesh.send("a", { promptTokens: 1000 });
  t.is(mesh.terms("a").prefillMs, alone + 1000);
  mesh.nowMs = 400;
  t.is(mesh.terms("a").prefillMs, alone + 600);
  handle.firstToken(500);
  mesh.nowMs = 500;
  t.is(mesh.terms("a").prefillMs, alone);
});

test("a stored model is a candidate at the price of its load, where it fits", (t) => {
  const stored = { status: ModelStatus.STORED, loadMs: 3000, memoryNeededBytes: 4n << 30n };
  const mesh = new RoutingFixture({
    ram: { model: stored, heartbeat: { memoryFreeBytes: 8n << 30n } },
    small: { model: stored, heartbeat: { memoryFreeBytes: 2n << 30n } },
    vram: { model: stored, heartbeat: { memoryFreeBytes: 0n, gpus: [gpu()] } },
    tight: { model: stored, heartbeat: { memoryFreeBytes: 8n << 30n, gpus: [gpu(1n << 30n)] } },
  });
  t.is(mesh.terms("ram").loadMs, 3000);
  t.is(mesh.terms("vram").loadMs, 3000);
  t.is(mesh.rejection("small"), "no-memory");
  t.is(mesh.rejection("tight"), "no-memory");
  const told = mesh.assessment("small");
  t.regex(told.kind === "rejected" ? told.reason : "", /takes 4096 MiB.* 2048 MiB of its memory/);
  mesh.add("loaded", { rttMs: 500 });
  t.is(mesh.chosen()?.edge, "loaded");
});

test("a load that was begun is waited for: the next request doesn't begin another", (t) => {
  const stored = { status: ModelStatus.STORED, loadMs: 1000 };
  const mesh = new RoutingFixture({ a: { model: stored }, b: { model: stored } });
  mesh.send("a", { promptTokens: 10 });
  mesh.nowMs = 600;
  mesh.beat("a", { model: { ...stored, status: ModelStatus.LOADING } });
  t.is(mesh.terms("a").loadMs, 400);
  t.is(mesh.chosen({}, 0.99)?.edge, "a");
  mesh.nowMs = 1100;
  mesh.beat("a", { model: {} });
  t.is(mesh.terms("a").loadMs, 0);
});

test("an edge that hasn't measured itself gets work, and so comes to measure itself", (t) => {
  const fresh = { prefillTokensPerS: 0, decodeTokensPerS: 0 };
  const mesh = new RoutingFixture({ fresh: { model: fresh }, measured: { rttMs: 1.5 } });
  t.is(mesh.chosen({}, 0)?.edge, "fresh");
  t.is(mesh.chosen({}, 0.99)?.edge, "measured");
});

test("how much a step slows down with load is learnt from what the edge reports", (t) => {
  const steep = new RoutingFixture({ a: {} });
  const flat = new RoutingFixture({ a: {} });
  for (let k = 0; k < 40; k += 1) {
    const active = 1 + (k % 8);
    steep.beat("a", { model: { active, decodeTokensPerS: 100 / active } });
    flat.beat("a", { model: { active, decodeTokensPerS: 100 } });
  }
  steep.beat("a", { model: { active: 2, decodeTokensPerS: 50 } });
  flat.beat("a", { model: { active: 2, decodeTokensPerS: 100 } });
  for (const mesh of [steep, flat]) for (let k = 0; k < 3; k += 1) mesh.send("a");
  t.true(Math.abs(steep.terms("a").decodeMs - 60) < 6, `${steep.terms("a").decodeMs}`);
  t.true(Math.abs(flat.terms("a").decodeMs - 10) < 1, `${flat.terms("a").decodeMs}`);
});

test("fewer streams at once than slots, where the edge says so", (t) => {
  const limited = { active: 4, concurrencyLimit: 4, remainingTokensMean: 100 };
  t.true(new RoutingFixture({ a: { model: limited } }).terms("a").queueMs > 0);
  const all = { ...limited, concurrencyLimit: 0 };
  t.is(new RoutingFixture({ a: { model: all } }).terms("a").queueMs, 0);
});

test("batch work may go to edges that can be taken away, and they are no worse for it", (t) => {
  const mesh = new RoutingFixture({ a: { heartbeat: labels({ preemptible: true }) } });
  t.is(mesh.chosen({ priority: "batch" })?.edge, "a");
});

test("energy and cost weigh as much as the request says", (t) => {
  const mesh = new RoutingFixture(
    {
      hungry: { heartbeat: labels({ watts: 1000, costPerHour: 10 }) },
      frugal: { rttMs: 60, heartbeat: labels({ watts: 50, costPerHour: 0.1 }) },
    },
    { jurisdictions: [], gramsCo2PerKwh: 500 },
  );
  const expectedTokens = 100;
  t.is(mesh.chosen({ expectedTokens })?.edge, "hungry");
  const green = { ...anyPolicy, msPerGram: 5000 };
  t.is(mesh.chosen({ expectedTokens, policy: green })?.edge, "frugal");
  t.is(mesh.chosen({ expectedTokens, policy: { ...anyPolicy, msPerCost: 1e5 } })?.edge, "frugal");
  // 0.1 s of prefill and 1 s of steps at 1 kW and 500 g/kWh, alone there.
  const grams = (1.1 * 1000 * 500) / 3.6e6;
  const { policyMs } = mesh.terms("hungry", { expectedTokens, policy: green });
  t.true(Math.abs(policyMs - 5000 * grams) < 1e-6);
});

test("what is said of the region's edges counts what is ready, and names the best", (t) => {
  const mesh = new RoutingFixture({
    a: { model: { active: 8, queued: 2 }, heartbeat: { gpus: [gpu()] } },
    b: { model: { active: 3, decodeTokensPerS: 50 } },
    c: {},
  });
  mesh.table.setStatus("c", "draining", "");
  t.like(mesh.table.summary("m", 0), { edgesReady: 2, edgesWithGpu: 1, slots: 16 });
  t.like(mesh.table.summary("m", 0), { freeSlots: 5, queued: 2 });
  t.like(mesh.table.summary("m", 0)?.best, { edge: "b", queueMs: 0 });
  t.is(mesh.table.summary("nobody", 0), null);
});
