// What a trainer can't do to its edge: outlive it, outgrow its limits, or pass off a bad result.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import test from "ava";
import { runTraining, type TrainingOptions } from "../../../edge-node/training/run-training.ts";
import { ServingPause } from "../../../edge-node/training/serving-pause.ts";
import type { TrainingJob } from "../../../edge-node/training/training-job.ts";
import { Fault } from "../../../proto/fault.ts";
import { systemClock } from "../../../runtime/clock.ts";
import { TensorType } from "../../../sync/formats/tensor-type.ts";
import { eventually } from "../../support/eventually.ts";
import { temporaryFolder, writeTinyModel } from "./tiny-model.ts";

const folder = temporaryFolder();
const base = writeTinyModel(folder, TensorType.q8_0);
const examples = path.join(folder, "examples.jsonl");
fs.writeFileSync(examples, '{"prompt":"ping","completion":"pong"}\n');
/** Starting processes takes its time where many do. */
const START_MAX_MS = 150_000;
const fake = (mode: string) => [
  process.execPath,
  path.join(import.meta.dirname, "fake-trainer.ts"),
  mode,
];

function job(output: string, changes: Partial<TrainingJob> = {}): TrainingJob {
  return {
    base,
    examples,
    outputFolder: path.join(folder, output),
    rank: 4,
    alpha: 8,
    learningRate: 1e-2,
    steps: 3,
    batch: 1,
    sequenceLength: 32,
    adapterSeed: 1,
    dataSeed: 2,
    timeLimitMs: 600_000,
    ...changes,
  };
}

async function faultOf(mode: string, options: TrainingOptions = {}, changes = {}) {
  const run = runTraining(job(mode, changes), { command: fake(mode), ...options });
  return await run.then(
    () => null,
    (thrown: unknown) => thrown as Fault,
  );
}

/** A process's state letter, e.g. T for stopped; null when there is none. */
function stateOf(pid: number): string | null {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, "latin1");
    const [state] = stat.slice(stat.lastIndexOf(")") + 2);
    return state === "Z" ? null : state!;
  } catch {
    return null;
  }
}

test("a result that isn't what was asked for is refused by name", async (t) => {
  const cases: [string, RegExp, Partial<TrainingJob>?][] = [
    ["nan", /finite/],
    ["thin", /absent/],
    ["extra", /wasn't to be trained/],
    ["touches-a", /A of .* changed/, { freezeA: true }],
    ["touches-rest", /B of .* changed/, { rankMax: 2 }],
    ["no-metrics", /no metrics\.json/],
    ["no-examples", /examples/],
  ];
  for (const [mode, message, changes] of cases) {
    const fault = await faultOf(mode, {}, changes);
    t.is(fault?.code, "failed-precondition", mode);
    t.regex(fault?.message ?? "", message, mode);
  }
});

test("an earlier run's result doesn't pass for this one's", async (t) => {
  const run = (mode: string) => runTraining(job("stale"), { command: fake(mode) });
  await run("good");
  t.true(fs.existsSync(path.join(folder, "stale", "metrics.json")));
  await t.throwsAsync(run("no-metrics"), { message: /no metrics\.json/ });
});

test("output that is no report does no harm", async (t) => {
  const fault = await faultOf("chatter");
  t.is(fault?.code, "unsupported");
  t.is(fault?.message, "enough");
});

test("a crash is told as one, and a command that isn't there as that", async (t) => {
  const crash = await faultOf("crash");
  t.is(crash?.code, "internal");
  t.regex(crash?.message ?? "", /died \(SIGABRT\)/);
  const absent = await faultOf("absent", { command: ["/no/such/trainer"] });
  t.is(absent?.code, "failed-precondition");
  t.regex(absent?.message ?? "", /can't be run: \/no\/such\/trainer/);
});

test("a trainer beyond its memory is ended, and the fault says how much it took", async (t) => {
  const fault = await faultOf("hog", { memoryBytesMax: 300 * 2 ** 20 });
  t.is(fault?.code, "failed-precondition");
  t.regex(fault?.message ?? "", /\d+ MiB of memory, more than its limit of 300/);
});

test("the built-in trainer says beforehand that its memory won't do", async (t) => {
  const run = runTraining(job("small"), { memoryBytesMax: 400_000 });
  const fault = await t.throwsAsync<Fault>(run, { instanceOf: Fault });
  t.regex(fault?.message ?? "", /memory/);
});

test("a trainer runs at low priority, and nothing of it is left when it is aborted", async (t) => {
  const controller = new AbortController();
  let pid = 0;
  let niceness = 0;
  const pidFile = path.join(folder, "helper.pid");
  const script = `sleep 600 & echo $! >${pidFile}; ${fake("good").join(" ")} "$1"`;
  const command = ["/bin/sh", "-c", script, "wrapper"];
  const run = runTraining(job("wrapped", { steps: 100_000 }), {
    command,
    signal: controller.signal,
    onSpawn: (spawned) => {
      pid = spawned;
    },
    onProgress: () => {
      niceness = os.getPriority(pid);
      controller.abort();
    },
  });
  await t.throwsAsync(run, { message: /aborted/ });
  t.is(niceness, Math.min(19, os.getPriority() + 10));
  const helper = Number(fs.readFileSync(pidFile, "utf8"));
  await eventually("what it started is gone", () => stateOf(helper) === null);
});

test("training stands still while requests are served, then ends as if nothing was", async (t) => {
  let inFlight = 0;
  const pausing = new ServingPause({
    inFlight: () => inFlight,
    shareMin: 0.01,
    clock: systemClock,
  });
  let pid = 0;
  let steps = 0;
  const run = runTraining(job("paused", { steps: 400 }), {
    command: fake("good"),
    pausing,
    onSpawn: (spawned) => {
      pid = spawned;
    },
    onProgress: ({ step }) => {
      steps = step;
      if (step !== 5) return;
      inFlight = 1;
      pausing.look();
    },
  });
  await eventually(
    "the process is stopped",
    () => steps >= 5 && stateOf(pid) === "T",
    START_MAX_MS,
  );
  t.true(pausing.isPaused);
  t.true(steps < 400);
  inFlight = 0;
  const { metrics } = await run;
  t.is(metrics.steps, 400);
  t.is(steps, 400);
});

test("pauses don't count against the time limit; a paused trainer can be aborted", async (t) => {
  const controller = new AbortController();
  const pausing = new ServingPause({ inFlight: () => 1, shareMin: 0.01, clock: systemClock });
  let pid = 0;
  const run = runTraining(job("still", { timeLimitMs: 400 }), {
    command: fake("good"),
    pausing,
    signal: controller.signal,
    onSpawn: (spawned) => {
      pid = spawned;
    },
  });
  const outcome = run.catch((thrown: Fault) => thrown.code);
  const startMs = systemClock.monotonicMs();
  await eventually(
    "it stands still for longer than its limit",
    () => systemClock.monotonicMs() - startMs > 1500 && stateOf(pid) === "T",
    START_MAX_MS,
  );
  controller.abort();
  t.is(await outcome, "cancelled");
  t.is(stateOf(pid), null);
});

test("the deadline holds even for a paused trainer", async (t) => {
  const pausing = new ServingPause({ inFlight: () => 1, shareMin: 0.01, clock: systemClock });
  const deadlineMs = systemClock.now() + 300;
  const fault = await faultOf("good", { pausing, deadlineMs }, { outputFolder: folder });
  t.is(fault?.code, "deadline-exceeded");
  t.regex(fault?.message ?? "", /deadline/);
});

for (const mode of ["running", "paused"]) {
  test(`a ${mode} trainer doesn't outlive an edge that is killed`, async (t) => {
    const script = path.join(import.meta.dirname, "endless-trainer.ts");
    const edge = spawn(process.execPath, [script, mode], { stdio: ["ignore", "pipe", "ignore"] });
    const pid = Number(await firstLine(edge));
    t.truthy(stateOf(pid));
    edge.kill("SIGKILL");
    await once(edge, "exit");
    await eventually("the trainer is gone", () => stateOf(pid) === null);
  });
}

async function firstLine(child: ChildProcess): Promise<string> {
  const [chunk] = await once(child.stdout!, "data");
  return String(chunk).trim();
}
