// A model is brought to what is wanted: idempotently, newest wish first, without cutting a stream.

import { create } from "@bufbuild/protobuf";
import test from "ava";
import { ServedModels } from "../../../edge-node/serving/served-models.ts";
import type { HeldArtifact } from "../../../edge-node/versions/artifact-holder.ts";
import { goalOf, type ModelGoal } from "../../../edge-node/versions/model-goal.ts";
import type { StartEngine } from "../../../edge-node/versions/model-host.ts";
import {
  ModelReconciler,
  RETRY_MAX_MS,
  RETRY_MIN_MS,
} from "../../../edge-node/versions/model-reconciler.ts";
import { Fault } from "../../../proto/fault.ts";
import { ModelVersionSchema } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import { silentLog } from "../../../runtime/log.ts";
import { eventually } from "../../support/eventually.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { ScriptedEngine } from "../engine/scripted-engine.ts";

/** Letters stand for the content of files. */
function goal(number: number, base: string, ...adapters: string[]): ModelGoal {
  const artifact = (letter: string) => ({ sha256: letter.repeat(64), bytes: 1n, name: letter });
  return goalOf(
    create(ModelVersionSchema, {
      model: "m",
      version: `m@${number}`,
      base: artifact(base),
      adapters: adapters.map((letter) => ({ artifact: artifact(letter), scale: 1 })),
    }),
  );
}

function setUp() {
  const clock = new ManualClock();
  const models = new ServedModels();
  const held = new Map<string, number>();
  const engines: ScriptedEngine[] = [];
  const refusing = new Set<string>();
  /** Files whose arrival, and whose loading, a test decides. */
  const slow = new Map<string, PromiseWithResolvers<void>>();
  const count = (letter: string, by: number) => held.set(letter, (held.get(letter) ?? 0) + by);
  const until = async (what: string, signal: AbortSignal) => {
    const gone = Promise.withResolvers<never>();
    signal.addEventListener("abort", () => gone.reject(new Fault("cancelled", "superseded")));
    await Promise.race([slow.get(what)?.promise, gone.promise]);
  };
  const hold = async (artifact: { sha256: string }, signal: AbortSignal): Promise<HeldArtifact> => {
    const letter = artifact.sha256[0]!;
    await until(letter, signal);
    if (refusing.has(letter)) throw new Fault("unavailable", `${letter} is nowhere`);
    count(letter, 1);
    return { path: `/${letter}`, release: () => void count(letter, -1) };
  };
  const startEngine: StartEngine = async ({ modelPath, version, signal }) => {
    await until(`load ${modelPath}`, signal);
    if (refusing.has(`load ${modelPath}`)) throw new Fault("failed-precondition", "damaged file");
    const engine = new ScriptedEngine({ version: version.id, manual: true, slots: 4 });
    engines.push(engine);
    return engine;
  };
  const log = silentLog();
  let changes = 0;
  const onChange = () => {
    changes++;
  };
  const options = { model: "m", models, hold, startEngine, clock, log, onChange };
  const reconciler = new ModelReconciler(options);
  const settled = () => eventually("the model settles", () => reconciler.isSettled);
  const heldNow = () => [...held].filter(([, n]) => n > 0).map(([letter]) => letter);
  const versions = (engine: ScriptedEngine) => engine.versions().length;
  return {
    clock,
    models,
    engines,
    refusing,
    slow,
    reconciler,
    settled,
    heldNow,
    versions,
    changesSoFar: () => changes,
  };
}

test("a wish is fetched, loaded and served; the same wish again does nothing", async (t) => {
  const { models, engines, reconciler, settled, changesSoFar } = setUp();
  reconciler.want(goal(1, "b"));
  await settled();
  t.is(models.active("m")?.version, "m@1");
  const before = changesSoFar();
  for (let told = 0; told < 5; told++) reconciler.want(goal(1, "b"));
  await Promise.resolve();
  t.is(engines.length, 1);
  t.is(changesSoFar(), before);
});

test("a new adapter opens in the same engine; the old one closes after its streams", async (t) => {
  const { models, engines, reconciler, settled, heldNow, versions } = setUp();
  reconciler.want(goal(1, "b", "d"));
  await settled();
  const engine = engines[0]!;
  const { engineVersion } = models.active("m")!;
  const stream = engine.generate(job(engineVersion), () => {}, new AbortController().signal);
  reconciler.want(goal(2, "b", "e"));
  await settled();
  t.is(models.active("m")?.version, "m@2");
  t.is(engines.length, 1, "no second engine");
  t.is(versions(engine), 2, "the old version still drains");
  t.deepEqual(heldNow().sort(), ["b", "d", "e"]);
  engine.step(10);
  await stream;
  await eventually("the old version is closed", () => versions(engine) === 1);
  await eventually("its file is let go", () => !heldNow().includes("d"));
  t.true(heldNow().includes("b"));
});

test("a new base gets an engine of its own; the old one ends when nobody uses it", async (t) => {
  const { models, engines, reconciler, settled, heldNow } = setUp();
  reconciler.want(goal(1, "a"));
  await settled();
  const use = models.acquire({ model: "m", pinned: "", preferred: "" });
  reconciler.want(goal(2, "b"));
  await settled();
  t.is(engines.length, 2);
  t.is(models.active("m")?.engine, engines[1]!);
  t.is(engines[0]!.state, "ready", "still in use");
  use.release();
  await eventually("the old engine is closed", () => engines[0]!.state === "closed");
  t.deepEqual(heldNow(), ["b"]);
});

test("of wishes in quick succession only the last is fetched and loaded to the end", async (t) => {
  const { models, engines, slow, reconciler, settled } = setUp();
  slow.set("a", Promise.withResolvers());
  reconciler.want(goal(1, "a"));
  await eventually("it is being fetched", () => reconciler.progress.kind === "fetching");
  for (let number = 2; number <= 20; number++) reconciler.want(goal(number, "a"));
  reconciler.want(goal(21, "b"));
  await settled();
  t.is(models.active("m")?.version, "m@21");
  t.is(engines.length, 1);
});

test("a failure is told with its reason and tried again; what is served goes on", async (t) => {
  const { clock, models, refusing, reconciler, settled } = setUp();
  reconciler.want(goal(1, "a"));
  await settled();
  refusing.add("b");
  reconciler.want(goal(2, "b"));
  await eventually("it has failed", () => reconciler.progress.kind === "failed");
  t.like(reconciler.progress, { version: "m@2", reason: "b is nowhere" });
  t.is(models.active("m")?.version, "m@1");
  for (let delayMs = RETRY_MIN_MS; delayMs < 4 * RETRY_MAX_MS; delayMs *= 2) {
    await eventually("a retry is set", () => clock.timers === 1);
    await clock.advanceAsync(Math.min(delayMs, RETRY_MAX_MS));
  }
  refusing.clear();
  await eventually("a retry is set", () => clock.timers === 1);
  await clock.advanceAsync(RETRY_MAX_MS);
  await settled();
  t.is(models.active("m")?.version, "m@2");
});

test("a base that can't be loaded is a failure and lets its file go", async (t) => {
  const { refusing, reconciler, heldNow, models } = setUp();
  refusing.add("load /b");
  reconciler.want(goal(1, "b"));
  await eventually("it has failed", () => reconciler.progress.kind === "failed");
  t.like(reconciler.progress, { reason: "damaged file" });
  t.deepEqual(heldNow(), []);
  t.is(models.active("m"), undefined);
});

test("a rollback to content that still drains opens it anew", async (t) => {
  const { models, engines, reconciler, settled } = setUp();
  reconciler.want(goal(1, "b", "d"));
  await settled();
  const { engineVersion } = models.active("m")!;
  const { signal } = new AbortController();
  const stream = engines[0]!.generate(job(engineVersion), () => {}, signal);
  reconciler.want(goal(2, "b", "e"));
  await settled();
  reconciler.want(goal(1, "b", "d"));
  await settled();
  t.is(models.active("m")?.version, "m@1");
  t.not(models.active("m")?.engineVersion, engineVersion);
  engines[0]!.step(10);
  await stream;
});

test("the same content under a new name is a change of name alone", async (t) => {
  const { models, engines, reconciler, settled, versions } = setUp();
  reconciler.want(goal(1, "b", "d"));
  await settled();
  reconciler.want(goal(2, "b", "d"));
  await settled();
  t.is(models.active("m")?.version, "m@2");
  t.is(versions(engines[0]!), 1);
  const pickOld = () => models.acquire({ model: "m", pinned: "m@1", preferred: "" });
  t.like(t.throws(pickOld, { instanceOf: Fault }), { code: "model-absent" });
});

test("wanting nothing takes the model away and ends its engine", async (t) => {
  const { models, engines, reconciler, settled, heldNow } = setUp();
  reconciler.want(goal(1, "b", "d"));
  await settled();
  reconciler.want(null);
  await settled();
  t.true(reconciler.isVacant);
  t.is(models.active("m"), undefined);
  await eventually("the engine is closed", () => engines[0]!.state === "closed");
  t.deepEqual(heldNow(), []);
});

test("a lease opens a version beside the served one until the last is released", async (t) => {
  const { models, engines, reconciler, settled, versions } = setUp();
  reconciler.want(goal(1, "b"));
  await settled();
  const { signal } = new AbortController();
  const first = await reconciler.lease(goal(2, "b", "e"), signal);
  const second = await reconciler.lease(goal(2, "b", "e"), signal);
  t.is(first.version, "m@2");
  t.is(models.active("m")?.version, "m@1");
  const pinned = () => {
    const use = models.acquire({ model: "m", pinned: "m@2", preferred: "" });
    use.release();
    return use.served.engineVersion;
  };
  const opened = pinned();
  first.release();
  // Leases are worked on one after another: this one comes after the release.
  const third = await reconciler.lease(goal(2, "b", "e"), signal);
  t.is(pinned(), opened, "it stayed open");
  second.release();
  third.release();
  await eventually("it is closed", () => versions(engines[0]!) === 1);
  t.is(models.active("m")?.version, "m@1");
});

test("a leased version that is then wanted is served without being opened again", async (t) => {
  const { models, engines, reconciler, settled, versions } = setUp();
  reconciler.want(goal(1, "b"));
  await settled();
  const lease = await reconciler.lease(goal(2, "b", "e"), new AbortController().signal);
  const pinned = models.acquire({ model: "m", pinned: "m@2", preferred: "" });
  pinned.release();
  reconciler.want(goal(2, "b", "e"));
  await settled();
  t.is(models.active("m")?.engineVersion, pinned.served.engineVersion);
  lease.release();
  await eventually("the first version is closed", () => versions(engines[0]!) === 1);
  t.is(models.active("m")?.version, "m@2");
});

test("stopping ends the engines, also one that is just being started", async (t) => {
  const { engines, slow, reconciler } = setUp();
  slow.set("b", Promise.withResolvers());
  reconciler.want(goal(1, "b"));
  const stopped = reconciler.stop();
  slow.get("b")!.resolve();
  await stopped;
  for (const engine of engines) t.is(engine.state, "closed");
  reconciler.want(goal(2, "c"));
  await Promise.resolve();
  t.true(engines.length <= 1);
});

test("a model that is being loaded is given up for another wish, and by a stop", async (t) => {
  const { slow, reconciler, settled, models, heldNow } = setUp();
  slow.set("load /b", Promise.withResolvers());
  const loading = () =>
    eventually("it is being loaded", () => reconciler.progress.kind === "loading");
  reconciler.want(goal(1, "b"));
  await loading();
  reconciler.want(goal(2, "c"));
  await settled();
  t.is(models.active("m")?.version, "m@2");
  t.deepEqual(heldNow(), ["c"]);
  reconciler.want(goal(3, "b"));
  await loading();
  await reconciler.stop();
  t.deepEqual(heldNow(), []);
});

function job(version: string) {
  return {
    prompt: { kind: "text" as const, text: "hello" },
    resume: null,
    maxTokens: 5,
    temperature: 0,
    topP: 1,
    topK: 0,
    minP: 0,
    seed: 1,
    repeatPenalty: null,
    stop: [],
    constraint: null,
    topLogprobs: null,
    version,
    priority: "interactive" as const,
  };
}
