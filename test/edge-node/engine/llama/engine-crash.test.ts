// What the engine does when its process dies, or never comes up.
import { copyFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { createLlamaEngine } from "../../../../edge-node/engine/llama/llama-engine.ts";
import { faultOf, greedyJob, live, tell } from "../../../conformance/engine.ts";
import { randomAdapter, randomModel } from "../../../models/tiny-model.ts";
import { eventually } from "../../../support/eventually.ts";
import { ManualClock } from "../../../support/manual-clock.ts";

const small = { slots: 2, contextSize: 512, threads: 1 } as const;

test("a killed process rejects what runs, comes back, and serves the same versions", async (t) => {
  const engine = await createLlamaEngine({ modelPath: await randomModel(), ...small });
  t.teardown(() => engine.close());
  const states: string[] = [];
  engine.onState((state) => states.push(state));
  await engine.openVersion({ id: "tuned", adapters: [{ path: await randomAdapter(), scale: 1 }] });
  await engine.activateVersion("tuned");
  const before = await tell(engine, greedyJob());
  const first = Promise.withResolvers<void>();
  const job = greedyJob({ maxTokens: 0 });
  const running = faultOf(
    engine.generate(job, (event) => event.kind === "tokens" && first.resolve(), live),
  );
  await first.promise;
  process.kill(engine.pid, "SIGKILL");
  t.is(await running, "engine-crashed");
  t.is(engine.state, "loading");
  t.is(engine.stats().freeSlots, 0);
  t.is(await faultOf(engine.generate(job, () => {}, live)), "unavailable");
  await eventually("the engine is back", () => engine.state === "ready");
  t.deepEqual(states, ["loading", "ready"]);
  const after = await tell(engine, greedyJob());
  t.is(after.started.version, "tuned");
  t.deepEqual(after.ids, before.ids);
  t.is(engine.stats().restarts, 1);
  t.deepEqual(
    engine.versions().map(({ id, active }) => ({ id, active })),
    [
      { id: "base", active: false },
      { id: "tuned", active: true },
    ],
  );
});

test("a model that can't be loaded is a fault, not a crash", async (t) => {
  const nowhere = createLlamaEngine({ modelPath: "/nowhere/model.gguf", ...small });
  t.is(await faultOf(nowhere), "failed-precondition");
  const path = join(tmpdir(), `isthmus-garbage-${process.pid}.gguf`);
  await writeFile(path, "<html>not a model</html>".repeat(100));
  t.is(await faultOf(createLlamaEngine({ modelPath: path, ...small })), "failed-precondition");
});

test("an adapter that is missing or doesn't fit is refused, and serving goes on", async (t) => {
  const modelPath = await randomModel();
  const engine = await createLlamaEngine({ modelPath, ...small });
  t.teardown(() => engine.close());
  const open = (path: string) =>
    faultOf(engine.openVersion({ id: "v", adapters: [{ path, scale: 1 }] }));
  t.is(await open("/nowhere/adapter.gguf"), "not-found");
  t.is(await open(modelPath), "failed-precondition");
  t.is(await open(await randomAdapter({ width: 128 })), "failed-precondition");
  const plain = await tell(engine, greedyJob());
  t.is(await open(await randomAdapter()), "none");
  const tuned = await tell(engine, greedyJob({ version: "v" }));
  t.notDeepEqual(tuned.ids, plain.ids);
  t.deepEqual((await tell(engine, greedyJob())).ids, plain.ids);
  const [score] = await engine.score(greedyJob().prompt, tuned.ids, live, "v");
  t.is(score!.gap, 0);
});

test("an engine whose model is gone tries on, and says failed meanwhile", async (t) => {
  const modelPath = join(tmpdir(), `isthmus-vanishing-${process.pid}.gguf`);
  await copyFile(await randomModel(), modelPath);
  t.teardown(() => rm(modelPath, { force: true }));
  const engine = await createLlamaEngine({ modelPath, ...small });
  t.teardown(() => engine.close());
  await rename(modelPath, `${modelPath}.away`);
  process.kill(engine.pid, "SIGKILL");
  await eventually("it has failed", () => engine.state === "failed", 60_000);
  t.is(await faultOf(engine.generate(greedyJob(), () => {}, live)), "unavailable");
  await rename(`${modelPath}.away`, modelPath);
  await eventually("it is back", () => engine.state === "ready", 60_000);
  t.is((await tell(engine, greedyJob())).ids.length, 24);
});

test("a process that is frozen in the middle of its work is replaced", async (t) => {
  const clock = new ManualClock();
  const engine = await createLlamaEngine({ modelPath: await randomModel(), ...small, clock });
  t.teardown(() => engine.close());
  const first = Promise.withResolvers<void>();
  const job = greedyJob({ maxTokens: 0 });
  const running = faultOf(
    engine.generate(job, (event) => event.kind === "tokens" && first.resolve(), live),
  );
  await first.promise;
  process.kill(engine.pid, "SIGSTOP");
  // What it had written before is still read; then it is silent.
  await eventually("it is given up", () => {
    clock.advance(5000);
    return engine.state === "loading";
  });
  t.is(await running, "engine-crashed");
  await eventually("it is back", () => {
    clock.advance(5000);
    return engine.state === "ready";
  });
});
