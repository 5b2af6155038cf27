// What is told of a model in each stage of its life.
import { create } from "@bufbuild/protobuf";
import test from "ava";
import { reportModel } from "../../../edge-node/heartbeat/model-report.ts";
import { PrefixNews } from "../../../edge-node/heartbeat/prefix-news.ts";
import { readVitals } from "../../../edge-node/heartbeat/vitals.ts";
import type { Progress } from "../../../edge-node/versions/model-reconciler.ts";
import { GpuStateSchema, ModelStatus } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import { eventually } from "../../support/eventually.ts";
import { complete, request, serveScript } from "../serving/served-script.ts";

const load = { slots: 4, limit: 3, active: 3, queued: 2, queueMax: 8 };
const settled: Progress = { kind: "settled" };
const fetching: Progress = { kind: "fetching", version: "m@2", bytes: 7000 };
const loading: Progress = { kind: "loading", version: "m@2", bytes: 7000 };
const failed: Progress = { kind: "failed", version: "m@2", reason: "no such file", bytes: 7000 };
const streams = { prefilling: 2, remainingTokensMean: 12, interTokenP99Ms: 31 };
const measured = { load, streams, prefixes: undefined };

test("a served model is ready with its load and rates, whatever the next version is doing", (t) => {
  const { version: served } = serveScript();
  const report = (progress: Progress) => reportModel({ model: "m", served, progress, ...measured });
  t.is(report(settled).length, 1);
  for (const progress of [settled, fetching, loading, failed]) {
    t.like(report(progress)[0], {
      slots: 4,
      active: 3,
      queued: 2,
      queueMax: 8,
      version: "m@1",
      status: ModelStatus.READY,
      reason: "",
      prefillTokensPerS: 1000,
      decodeTokensPerS: 100,
      contextLength: 4096,
      architecture: "scripted",
      remainingTokensMean: 12,
      concurrencyLimit: 3,
      prefilling: 2,
      interTokenP99Ms: 31,
      prefixes: undefined,
    });
  }
});

test("a version on its way, or that can't come, has an entry of its own without load", (t) => {
  const { version } = serveScript();
  for (const served of [version, undefined]) {
    const report = (progress: Progress) =>
      reportModel({ model: "m", served, progress, ...measured }).at(-1);
    const bare = { version: "m@2", slots: 0, active: 0, queued: 0, memoryNeededBytes: 7000n };
    t.like(report(fetching), { ...bare, status: ModelStatus.FETCHING });
    t.like(report(loading), { ...bare, status: ModelStatus.LOADING });
    t.like(report(failed), { ...bare, status: ModelStatus.FAILED, reason: "no such file" });
  }
});

const quiet = {
  prefixNews: new PrefixNews(),
  gpuStates: () => [],
  isDraining: () => true,
  isTraining: () => false,
  drift: () => [],
  versionBook: { health: () => [] },
};
const versions = {
  names: () => ["m", "n"],
  progressOf: (model: string) => (model === "m" ? settled : fetching),
  reconciledRevision: 4n,
};

test("an engine that restarts makes its model loading, and heartbeats can still be made", (t) => {
  const { engine, version: served, models, admitted, engines } = serveScript();
  engine.crash();
  const view = { model: "m", served, progress: settled, ...measured };
  t.like(reportModel(view)[0], { status: ModelStatus.LOADING, reason: "the engine is loading" });
  const vitals = readVitals({ ...quiet, models, versions, admitted, engines }, 0);
  t.deepEqual(
    vitals.models.map(({ model, status }) => [model, status]),
    [
      ["m", ModelStatus.LOADING],
      ["n", ModelStatus.FETCHING],
    ],
  );
  t.like(vitals, { draining: true, training: false, desiredRevision: 4n, inFlight: 0 });
  t.true(vitals.memoryTotalBytes >= vitals.memoryFreeBytes);
});

test("heartbeats tell which prompt heads the engine holds", async (t) => {
  const script = serveScript({ reply: () => "ok" });
  const read = (nowMs: number) => {
    const sources = { ...quiet, ...script, prefixNews: news, versions };
    return readVitals(sources, nowMs).models[0]?.prefixes?.blocks;
  };
  const news = new PrefixNews();
  t.deepEqual(read(0), []);
  const asked = request({ prompt: { case: "text", value: "x".repeat(600) }, maxTokens: 3 });
  await complete(script.admitted, asked);
  t.is(read(1000)?.length, 2, "whole blocks of 256 characters");
  t.is(read(2000), undefined, "nothing new");
  script.engine.crash();
  t.deepEqual(read(3000), []);
});

test("an edge that uses no GPU tells of none, whatever the machine has", async (t) => {
  const script = serveScript();
  const gpu = create(GpuStateSchema, { name: "H200", utilisation: 0.5, temperatureC: 40 });
  const sources = { ...quiet, ...script, versions, gpuStates: () => [gpu] };
  t.deepEqual(readVitals(sources, 0).gpus, []);
  Object.assign(script.engine.info, { gpu: "cuda", gpuDevices: ["H200"] });
  t.deepEqual(readVitals(sources, 0).gpus, [gpu]);
  t.like(readVitals({ ...sources, gpuStates: () => [] }, 0).gpus[0], { name: "H200" });
});

test("streams without a token yet are told as prefilling", async (t) => {
  const script = serveScript({ manual: true });
  const running = complete(script.admitted, request({ maxTokens: 2 }));
  await eventually("it has begun", () => script.engine.stats().active === 1);
  const told = () => readVitals({ ...quiet, ...script, versions }, 0).models[0]?.prefilling;
  t.is(told(), 1);
  script.engine.step(2);
  t.is(told(), 0);
  script.engine.step(4);
  await running;
});
