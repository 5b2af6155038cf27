// The trainer's contract as claims, held against the built-in trainer and a tiny one without a
// model; with ISTHMUS_TRAINER='["python3","train.py"]' (a JSON array) against any other as well.
import { execFile } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import test from "ava";
import { BUILT_IN_TRAINER, runTraining } from "../../../edge-node/training/run-training.ts";
import {
  CONTRACT_VERSION,
  parseTrainingReport,
  type TrainerJob,
} from "../../../edge-node/training/trainer-contract.ts";
import type { TrainingJob } from "../../../edge-node/training/training-job.ts";
import { Fault } from "../../../proto/fault.ts";
import { firstComponents } from "../../../sync/delta/rank-slice.ts";
import { readGguf } from "../../../sync/formats/gguf-reader.ts";
import { initialAdapter } from "../../../sync/formats/initial-adapter.ts";
import { LINEAR_MODULES } from "../../../sync/formats/linear-modules.ts";
import {
  adapterRank,
  adapterTensors,
  decodeAdapterState,
  encodeAdapterState,
} from "../../../sync/formats/lora-adapter.ts";
import { readSafetensors, writeSafetensors } from "../../../sync/formats/safetensors.ts";
import { TensorType } from "../../../sync/formats/tensor-type.ts";
import { temporaryFolder, writeTinyModel } from "./tiny-model.ts";

const FAKE = [process.execPath, path.join(import.meta.dirname, "fake-trainer.ts"), "good"];
const trainers: Record<string, readonly string[]> = {
  "the built-in trainer": BUILT_IN_TRAINER,
  "a tiny trainer": FAKE,
  ...(process.env.ISTHMUS_TRAINER && {
    "the given trainer": JSON.parse(process.env.ISTHMUS_TRAINER) as string[],
  }),
};

const RANK = 4;
const ALPHA = 8;
const SECRET = "nobody-may-read-this";
const folder = temporaryFolder();
const base = writeTinyModel(folder, TensorType.q8_0);
const examples = lines("examples.jsonl", [
  { prompt: "ping", completion: "pong" },
  { prompt: "ding", completion: "dong" },
  { prompt: "sing", completion: "song" },
]);
const replay = lines("replay.jsonl", [{ prompt: "up", completion: "down" }]);
const started = initialAdapter(readGguf(base), {
  rank: RANK,
  alpha: ALPHA,
  modules: LINEAR_MODULES,
  seed: 5,
});

function lines(name: string, objects: readonly unknown[]): string {
  const file = path.join(folder, name);
  fs.writeFileSync(file, objects.map((object) => `${JSON.stringify(object)}\n`).join(""));
  return file;
}

function job(output: string, changes: Partial<TrainingJob> = {}): TrainingJob {
  return {
    base,
    examples,
    replay,
    outputFolder: path.join(folder, output),
    rank: RANK,
    alpha: ALPHA,
    learningRate: 1e-2,
    steps: 6,
    batch: 4,
    sequenceLength: 32,
    replayShare: 0.25,
    adapterSeed: 5,
    dataSeed: 2,
    timeLimitMs: 600_000,
    ...changes,
  };
}

function tensorsOf(file: string) {
  return adapterTensors(decodeAdapterState(fs.readFileSync(file), file));
}

for (const [name, command] of Object.entries(trainers)) {
  const at = (output: string) => path.join(name.replaceAll(" ", "-"), output);
  const run = (changed: TrainingJob, options: Parameters<typeof runTraining>[1] = {}) =>
    runTraining(changed, { ...options, command });

  test.serial(`${name} leaves an adapter of the given modules, and metrics`, async (t) => {
    const seen: [number, number][] = [];
    const { adapterState, metrics } = await run(job(at("plain")), {
      onProgress: ({ step, steps }) => seen.push([step, steps]),
    });
    t.deepEqual(
      seen,
      Array.from({ length: 6 }, (_, i): [number, number] => [i + 1, 6]),
    );
    t.like(metrics, { steps: 6, examples: 3, replayExamples: 1 });
    const state = decodeAdapterState(fs.readFileSync(adapterState), "state");
    t.is(state.alpha, ALPHA);
    t.is(adapterRank(state), RANK);
    t.deepEqual([...state.modules.keys()], [...started.modules.keys()]);
    const moved = [...adapterTensors(state)].filter(([tensor, { data }]) => {
      const before = adapterTensors(started).get(tensor)!.data;
      return tensor.endsWith(".lora_b") && data.some((x, i) => x !== before[i]);
    });
    t.is(moved.length, started.modules.size, "every B has moved");
  });

  test.serial(`${name}, killed twice, resumes to the bytes of an undisturbed run`, async (t) => {
    const long = { steps: 200, checkpointEverySteps: 4 };
    const whole = await run(job(at("whole"), long));
    const interrupted = job(at("killed"), long);
    const firstSteps: number[] = [];
    // A blow lands some steps late where the machine is busy: each counts from its own beginning.
    for (const stepsBefore of [5, 10]) {
      const controller = new AbortController();
      let first = 0;
      await t.throwsAsync(
        run(interrupted, {
          signal: controller.signal,
          onProgress: ({ step }) => {
            first ||= step;
            if (step >= first + stepsBefore) controller.abort();
          },
        }),
        { instanceOf: Fault },
      );
      firstSteps.push(first);
    }
    let last = 0;
    const resumed = await run(interrupted, {
      onProgress: ({ step }) => {
        last ||= step;
      },
    });
    t.true(firstSteps[1]! > 1 && last > firstSteps[1]!, `began at ${firstSteps} and ${last}`);
    t.deepEqual(fs.readFileSync(resumed.adapterState), fs.readFileSync(whole.adapterState));
    t.is(resumed.metrics.lossBefore, whole.metrics.lossBefore);
  });

  test.serial(`${name} keeps a frozen A bit for bit`, async (t) => {
    const { adapterState } = await run(job(at("frozen"), { freezeA: true }));
    const before = adapterTensors(started);
    for (const [tensor, { data }] of tensorsOf(adapterState)) {
      if (tensor.endsWith(".lora_a")) t.deepEqual(data, before.get(tensor)!.data, tensor);
    }
  });

  test.serial(`${name} trains the first components of a higher rank alone`, async (t) => {
    const state = path.join(folder, "start.safetensors");
    const start = structuredClone(started);
    for (const { b } of start.modules.values()) b.set(b.map((_, i) => Math.sin(i) / 50));
    fs.writeFileSync(state, encodeAdapterState(start));
    const changes = { adapterState: state, rankMax: 1 };
    const { adapterState } = await run(job(at("lower"), changes));
    const result = decodeAdapterState(fs.readFileSync(adapterState), "state");
    t.is(adapterRank(result), 1);
    t.is(result.alpha, ALPHA / RANK);
    const cut = firstComponents(adapterTensors(start), 1);
    for (const [tensor, { shape, data }] of adapterTensors(result)) {
      t.deepEqual(shape, cut.get(tensor)!.shape, tensor);
      if (tensor.endsWith(".lora_b")) t.notDeepEqual(data, cut.get(tensor)!.data, tensor);
    }
  });

  test.serial(`${name} refuses bad input by name, and quotes none of it`, async (t) => {
    const poisoned = path.join(folder, "poisoned");
    const good = trainerJob(at("refused"));
    fs.cpSync(good.adapterIn, poisoned, { recursive: true });
    const weights = path.join(poisoned, "adapter_model.safetensors");
    const { tensors, metadata } = readSafetensors(weights);
    [...tensors.values()][0]!.data[0] = Number.NaN;
    writeSafetensors(weights, { tensors, metadata });
    const broken = path.join(folder, "broken.jsonl");
    fs.writeFileSync(broken, `{"prompt":"${SECRET}"\n`);
    const incomplete = lines("incomplete.jsonl", [{ prompt: SECRET }]);
    const empty = lines("empty.jsonl", []);
    const cases: Record<string, [unknown, RegExp]> = {
      "an empty file": [{ ...good, examples: empty }, /example/],
      "a file that isn't there": [
        { ...good, examples: path.join(folder, "no.jsonl") },
        /no\.jsonl/,
      ],
      "a line that isn't JSON": [{ ...good, examples: broken }, /broken\.jsonl:1/],
      "an example without a completion": [{ ...good, examples: incomplete }, /completion/],
      "an adapter with a NaN": [{ ...good, adapterIn: poisoned }, /finite/],
      "another contract": [{ ...good, contract: CONTRACT_VERSION + 1 }, /contract/],
      "no steps": [{ ...good, learning: { ...good.learning, steps: 0 } }, /steps/],
    };
    for (const [what, [told, message]] of Object.entries(cases)) {
      const { code, fault, output } = await runAlone(command, told);
      t.not(code, 0, what);
      t.regex(fault ?? output, message, what);
      t.truthy(fault, what);
      t.false(output.includes(SECRET), what);
    }
    t.false(fs.existsSync(path.join(good.output, "metrics.json")));
  });
}

/** What the command itself is told, for cases that an edge wouldn't let through. */
function trainerJob(output: string): TrainerJob {
  const { outputFolder } = job(output);
  fs.mkdirSync(outputFolder, { recursive: true });
  const adapterIn = path.join(folder, path.dirname(output), "plain", "adapter-in");
  const told = path.join(folder, path.dirname(output), "plain", "job.json");
  return { ...JSON.parse(fs.readFileSync(told, "utf8")), output: outputFolder, adapterIn };
}

async function runAlone([program, ...words]: readonly string[], told: unknown) {
  const file = path.join(folder, "alone.json");
  fs.writeFileSync(file, JSON.stringify(told));
  const ended = await promisify(execFile)(program!, [...words, file]).catch((error) => error);
  const output: string = ended.stdout + ended.stderr;
  const reports = ended.stdout.split("\n").map(parseTrainingReport);
  const fault = reports.find((report: ReturnType<typeof parseTrainingReport>) => {
    return report?.kind === "fault";
  });
  return { code: ended.code ?? 0, fault: fault?.message as string | undefined, output };
}
