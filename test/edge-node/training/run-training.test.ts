// Training as an edge runs it: in a process of its own, from a job, on a small real model.
import fs from "node:fs";
import path from "node:path";
import test from "ava";
import { getLlama, LlamaLogLevel, type Token } from "node-llama-cpp";
import { runTraining } from "../../../edge-node/training/run-training.ts";
import type { TrainingJob } from "../../../edge-node/training/training-job.ts";
import { Fault } from "../../../proto/fault.ts";
import { writeGgufAdapter } from "../../../sync/formats/gguf-adapter.ts";
import { readGguf } from "../../../sync/formats/gguf-reader.ts";
import { decodeAdapterState, encodeAdapterState } from "../../../sync/formats/lora-adapter.ts";
import { TensorType } from "../../../sync/formats/tensor-type.ts";
import { temporaryFolder, writeTinyModel } from "./tiny-model.ts";

const folder = temporaryFolder();
const base = writeTinyModel(folder, TensorType.q8_0);
const examples = writeLines("examples.jsonl", [
  { prompt: "ping", completion: "pong" },
  { prompt: "ding", completion: "dong" },
  { prompt: "sing", completion: "song" },
]);
const replay = writeLines("replay.jsonl", [{ prompt: "up", completion: "down" }]);

function writeLines(name: string, lines: readonly unknown[]): string {
  const file = path.join(folder, name);
  fs.writeFileSync(file, lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
  return file;
}

function job(outputFolder: string, changes: Partial<TrainingJob> = {}): TrainingJob {
  return {
    base,
    examples,
    replay,
    outputFolder: path.join(folder, outputFolder),
    rank: 4,
    alpha: 8,
    learningRate: 1e-2,
    steps: 12,
    batch: 4,
    sequenceLength: 32,
    replayShare: 0.25,
    adapterSeed: 1,
    dataSeed: 2,
    timeLimitMs: 600_000,
    ...changes,
  };
}

test.serial(
  "a short run lowers the loss, and its adapter changes what the engine says",
  async (t) => {
    const steps: number[] = [];
    const result = await runTraining(job("short"), { onProgress: ({ step }) => steps.push(step) });
    t.deepEqual(
      steps,
      Array.from({ length: 12 }, (_, i) => i + 1),
    );
    const { metrics } = result;
    t.true(metrics.lossAfter < metrics.lossBefore * 0.9, JSON.stringify(metrics));
    t.is(metrics.examples, 3);
    t.is(metrics.replayExamples, 1);
    const written = path.join(folder, "short", "metrics.json");
    t.deepEqual(JSON.parse(fs.readFileSync(written, "utf8")), metrics);

    const adapter = decodeAdapterState(fs.readFileSync(result.adapterState), "state");
    const adapterPath = path.join(folder, "short.gguf");
    writeGgufAdapter(adapterPath, adapter);
    const [without, withAdapter] = await nextTokenProbabilities([[], [adapterPath]]);
    t.true((withAdapter as number) > (without as number) * 2, `${without} -> ${withAdapter}`);
  },
);

/** The probability of the answer's first letter that the engine computes, per adapter list. */
async function nextTokenProbabilities(adapters: readonly string[][]): Promise<number[]> {
  const llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.error });
  const model = await llama.loadModel({ modelPath: base, gpuLayers: 0 });
  const [wanted] = model.tokenize("p") as [Token];
  const prompt = model.tokenize("ping =>\n");
  const found: number[] = [];
  for (const paths of adapters) {
    const lora = { adapters: paths.map((filePath) => ({ filePath })) };
    const context = await model.createContext({ contextSize: 64, threads: 1, lora });
    const last: [Token, { generateNext: { probabilities: true } }] = [
      prompt.at(-1) as Token,
      { generateNext: { probabilities: true } },
    ];
    const outputs = await context.getSequence().controlledEvaluate([...prompt.slice(0, -1), last]);
    found.push(outputs.at(-1)?.next.probabilities?.get(wanted) ?? Number.NaN);
    await context.dispose();
  }
  await llama.dispose();
  return found;
}

test.serial("the same job gives the same bytes, and another data seed gives others", async (t) => {
  const bytesOf = async (name: string, changes: Partial<TrainingJob> = {}) =>
    fs.readFileSync((await runTraining(job(name, { steps: 4, ...changes }))).adapterState);
  const first = await bytesOf("same-1");
  t.deepEqual(await bytesOf("same-2"), first);
  t.notDeepEqual(await bytesOf("other", { dataSeed: 3 }), first);
});

test.serial("a run that is killed midway resumes to the same bytes", async (t) => {
  // Long enough that the kill comes before the end, however late we hear of step 8.
  const long = { steps: 300, checkpointEverySteps: 3 };
  const whole = await runTraining(job("whole", long));
  const controller = new AbortController();
  const interrupted = job("interrupted", long);
  const aborted = await t.throwsAsync(
    runTraining(interrupted, {
      signal: controller.signal,
      onProgress: ({ step }) => step === 8 && controller.abort(),
    }),
    { instanceOf: Fault },
  );
  t.is((aborted as Fault).code, "cancelled");
  const steps: number[] = [];
  const resumed = await runTraining(interrupted, { onProgress: ({ step }) => steps.push(step) });
  t.true((steps[0] as number) > 3, `resumed at step ${steps[0]}`);
  t.deepEqual(fs.readFileSync(resumed.adapterState), fs.readFileSync(whole.adapterState));
  t.is(resumed.metrics.lossBefore, whole.metrics.lossBefore);
});

test.serial("a damaged checkpoint is as good as none", async (t) => {
  const whole = await runTraining(job("undamaged", { steps: 4 }));
  const output = job("damaged", { steps: 4 });
  fs.mkdirSync(output.outputFolder, { recursive: true });
  fs.writeFileSync(path.join(output.outputFolder, "checkpoint.safetensors"), "not a checkpoint");
  const result = await runTraining(output);
  t.deepEqual(fs.readFileSync(result.adapterState), fs.readFileSync(whole.adapterState));
});

test.serial(
  "training that diverges, or a base without numbers, is told from a crash",
  async (t) => {
    const diverged = await t.throwsAsync<Fault>(
      runTraining(job("diverged", { learningRate: 1, weightDecay: 1, steps: 200, alpha: 1e30 })),
      { instanceOf: Fault, message: /learning rate/ },
    );
    t.is(diverged?.code, "failed-precondition");
    const bad = path.join(folder, "nan.gguf");
    const model = readGguf(writeTinyModel(folder, TensorType.f32));
    const bytes = fs.readFileSync(model.path);
    bytes.writeFloatLE(Number.NaN, model.tensors.get("output_norm.weight")!.offset);
    fs.writeFileSync(bad, bytes);
    const fault = await t.throwsAsync<Fault>(runTraining(job("nan", { base: bad })), {
      instanceOf: Fault,
      message: /before the first step/,
    });
    t.is(fault?.code, "failed-precondition");
  },
);

test.serial("training goes on from an adapter's state", async (t) => {
  const first = await runTraining(job("round-1"));
  const adapterState = first.adapterState;
  const second = await runTraining(job("round-2", { adapterState }));
  t.true(Math.abs(second.metrics.lossBefore - first.metrics.lossAfter) < 1e-6);
});

test.serial("a crash of the process is an internal fault that says so", async (t) => {
  const fault = await t.throwsAsync<Fault>(
    runTraining(job("crash", { steps: 5000 }), {
      onSpawn: (pid) => process.kill(pid, "SIGSEGV"),
    }),
    { instanceOf: Fault },
  );
  t.is(fault?.code, "internal");
  t.regex(fault?.message ?? "", /died \(SIGSEGV\)/);
});

test.serial("the time limit ends a run", async (t) => {
  const fault = await t.throwsAsync<Fault>(
    runTraining(job("limit", { steps: 5000, timeLimitMs: 50 })),
    { instanceOf: Fault },
  );
  t.is(fault?.code, "deadline-exceeded");
});

test.serial("what can't be trained is refused with a fault that says why", async (t) => {
  const state = path.join(folder, "short", "adapter-state.safetensors");
  const adapter = decodeAdapterState(fs.readFileSync(state), state);
  const poisoned = path.join(folder, "poisoned.safetensors");
  const [module] = adapter.modules.values();
  if (module) module.b[0] = Number.NaN;
  fs.writeFileSync(poisoned, encodeAdapterState(adapter));
  const unknown = path.join(folder, "unknown.safetensors");
  const [anyModule] = decodeAdapterState(fs.readFileSync(state), state).modules.values();
  const modules = new Map([["blk.99.attn_q.weight", anyModule!]]);
  fs.writeFileSync(unknown, encodeAdapterState({ ...adapter, modules }));
  const notGguf = writeLines("not-a-model.gguf", [{}]);
  const cases: [Partial<TrainingJob>, Fault["code"], RegExp][] = [
    [{ rank: 0 }, "invalid-argument", /rank/],
    [{ base: path.join(folder, "absent.gguf") }, "invalid-argument", /doesn't exist/],
    [{ base: notGguf }, "invalid-argument", /not a GGUF file/],
    [{ examples: writeLines("empty.jsonl", []) }, "invalid-argument", /no examples/],
    [{ examples: writeLines("bad.jsonl", [{ prompt: 1 }]) }, "invalid-argument", /bad.jsonl:1/],
    [{ sequenceLength: 4 }, "invalid-argument", /raise sequenceLength/],
    [{ adapterState: state, rank: 8 }, "failed-precondition", /rank 4/],
    [{ adapterState: poisoned }, "failed-precondition", /finite/],
    [{ adapterState: unknown }, "failed-precondition", /blk\.99\.attn_q\.weight .*absent/],
    [{ adapterState: path.join(folder, "absent") }, "failed-precondition", /doesn't exist/],
    [{ base: otherArchitecture() }, "unsupported", /architecture qwen2/],
  ];
  for (const [changes, code, message] of cases) {
    const fault = await t.throwsAsync<Fault>(runTraining(job("refused", changes)), {
      instanceOf: Fault,
      message,
    });
    t.is(fault?.code, code, fault?.message);
  }
});

/** The same file, but for the name of its family. */
function otherArchitecture(): string {
  const file = path.join(folder, "other.gguf");
  const text = fs.readFileSync(writeTinyModel(folder, TensorType.f32)).toString("latin1");
  const key = "general.architecture";
  const at = text.indexOf("llama", text.indexOf(key) + key.length);
  fs.writeFileSync(file, Buffer.from(`${text.slice(0, at)}qwen2${text.slice(at + 5)}`, "latin1"));
  return file;
}
