// What is told of a model in each stage of its life.
import test from "ava";
import { reportModel } from "../../../edge-node/heartbeat/model-report.ts";
import { readVitals } from "../../../edge-node/heartbeat/vitals.ts";
import type { Progress } from "../../../edge-node/versions/model-reconciler.ts";
import { ModelStatus } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import { serveScript } from "../serving/served-script.ts";

const load = { slots: 4, limit: 4, active: 3, queued: 2, queueMax: 8 };
const settled: Progress = { kind: "settled" };
const fetching: Progress = { kind: "fetching", version: "m@2" };
const loading: Progress = { kind: "loading", version: "m@2" };
const failed: Progress = { kind: "failed", version: "m@2", reason: "no such file" };

test("a served model is ready with its load and rates, whatever the next version is doing", (t) => {
  const { version: served } = serveScript();
  const report = (progress: Progress) =>
    reportModel({ model: "m", served, progress, load, remainingTokensMean: 12 });
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
    });
  }
});

test("a version on its way, or that can't come, has an entry of its own without load", (t) => {
  const { version } = serveScript();
  for (const served of [version, undefined]) {
    const report = (progress: Progress) =>
      reportModel({ model: "m", served, progress, load, remainingTokensMean: 0 }).at(-1);
    const bare = { version: "m@2", slots: 0, active: 0, queued: 0 };
    t.like(report(fetching), { ...bare, status: ModelStatus.FETCHING });
    t.like(report(loading), { ...bare, status: ModelStatus.LOADING });
    t.like(report(failed), { ...bare, status: ModelStatus.FAILED, reason: "no such file" });
  }
});

test("an engine that restarts makes its model loading, and heartbeats can still be made", (t) => {
  const { engine, version: served, models, admitted, engines } = serveScript();
  engine.crash();
  const view = { model: "m", served, progress: settled, load, remainingTokensMean: 0 };
  t.like(reportModel(view)[0], { status: ModelStatus.LOADING, reason: "the engine is loading" });
  const versions = {
    names: () => ["m", "n"],
    progressOf: (model: string) => (model === "m" ? settled : fetching),
    reconciledRevision: 4n,
  };
  const vitals = readVitals({
    models,
    versions,
    admitted,
    engines,
    isDraining: () => true,
    isTraining: () => false,
  });
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
