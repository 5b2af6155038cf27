// What goes into a run, before ggml is involved: jobs, example files, schedules, model checks.
import fs from "node:fs";
import path from "node:path";
import test from "ava";
import fc from "fast-check";
import { createBatchSchedule } from "../../../edge-node/training/batch-schedule.ts";
import { readExamples } from "../../../edge-node/training/example-file.ts";
import { readLlamaShape } from "../../../edge-node/training/llama-model.ts";
import { parseTrainingReport } from "../../../edge-node/training/trainer-contract.ts";
import { type TokenSequence, TrainingBatch } from "../../../edge-node/training/training-batch.ts";
import { completeTrainingJob } from "../../../edge-node/training/training-job.ts";
import { Fault } from "../../../proto/fault.ts";
import { ggufString, ggufUint32 } from "../../../sync/formats/gguf-metadata.ts";
import { readGguf } from "../../../sync/formats/gguf-reader.ts";
import { TINY_SIZES, temporaryFolder, writeTinyModel } from "./tiny-model.ts";

const folder = temporaryFolder();
const sequence = (token: number): TokenSequence => ({ tokens: [token, token], supervisedFrom: 1 });

test("every batch holds its share of replay, and at least one own example", (t) => {
  const law = fc.property(
    fc.integer({ min: 1, max: 20 }),
    fc.integer({ min: 0, max: 5 }),
    fc.integer({ min: 1, max: 8 }),
    fc.double({ min: 0, max: 0.95, noNaN: true }),
    (ownCount, replayCount, batch, replayShare) => {
      const schedule = createBatchSchedule({
        examples: Array.from({ length: ownCount }, (_, i) => sequence(i)),
        replay: Array.from({ length: replayCount }, (_, i) => sequence(100 + i)),
        batch,
        replayShare,
        seed: 5,
      });
      const sequences = schedule(3);
      const replayed = sequences.filter(({ tokens }) => (tokens[0] as number) >= 100).length;
      const wanted = replayCount === 0 ? 0 : Math.round(batch * replayShare);
      return sequences.length === batch && replayed === Math.min(wanted, batch - 1);
    },
  );
  fc.assert(law, { seed: 11 });
  t.pass();
});

test("each pass over the data shows every example once, in a new order", (t) => {
  const examples = Array.from({ length: 12 }, (_, i) => sequence(i));
  const schedule = createBatchSchedule({ examples, replay: [], batch: 4, replayShare: 0, seed: 1 });
  const pass = (n: number) =>
    [0, 1, 2].flatMap((i) => schedule(n * 3 + i).map(({ tokens }) => tokens[0] as number));
  const sorted = (numbers: number[]) => numbers.toSorted((a, b) => a - b);
  t.deepEqual(
    sorted(pass(0)),
    examples.map((_, i) => i),
  );
  t.deepEqual(sorted(pass(1)), sorted(pass(0)));
  t.notDeepEqual(pass(1), pass(0));
  t.deepEqual(pass(0), pass(0));
});

test("a batch refuses what doesn't fit, and tokens that the model doesn't have", (t) => {
  const size = { sequences: 2, positions: 4, supervised: 3, vocabulary: 10 };
  const batch = new TrainingBatch(size);
  const refuse = (sequences: TokenSequence[], message: RegExp) =>
    t.throws(() => batch.fill(sequences), { instanceOf: Fault, message });
  refuse([{ tokens: [1, 2, 3, 4, 5, 6], supervisedFrom: 1 }], /6 tokens; at most 5/);
  refuse([{ tokens: [1, 10], supervisedFrom: 1 }], /outside of the vocabulary/);
  refuse([{ tokens: [1, -1], supervisedFrom: 1 }], /outside of the vocabulary/);
  refuse([{ tokens: [1, 2, 3, 4, 5], supervisedFrom: 1 }], /more than 3 tokens to learn/);
  refuse([{ tokens: [1, 2], supervisedFrom: 2 }], /without a token to learn/);
  refuse([sequence(1), sequence(1), sequence(1)], /more sequences/);
});

test("a refilled batch keeps nothing of the one before", (t) => {
  const size = { sequences: 1, positions: 4, supervised: 4, vocabulary: 10 };
  const used = new TrainingBatch(size);
  used.fill([{ tokens: [1, 2, 3, 4, 5], supervisedFrom: 1 }]);
  const fresh = new TrainingBatch(size);
  for (const batch of [used, fresh]) batch.fill([sequence(6)]);
  for (const part of ["tokens", "rows", "rowMask", "labels"] as const) {
    t.deepEqual(used[part], fresh[part], part);
  }
});

test("an example file is refused by its line, and its text isn't quoted", (t) => {
  const file = path.join(folder, "examples.jsonl");
  const good = JSON.stringify({ prompt: "a", completion: "b" });
  for (const bad of [
    "secret words",
    "[]",
    "null",
    '{"prompt":"x"}',
    '{"prompt":"x","completion":""}',
  ]) {
    fs.writeFileSync(file, `${good}\n\n${bad}\n`);
    const fault = t.throws(() => readExamples(file), { instanceOf: Fault, message: /:3: / });
    t.false(fault.message.includes("secret"));
  }
  fs.writeFileSync(file, `${good}\n\n`);
  t.deepEqual(readExamples(file), [{ prompt: "a", completion: "b" }]);
});

test("a job's faults name every wrong key", (t) => {
  const fault = t.throws(() => completeTrainingJob({ rank: 0, surprise: 1 }), {
    instanceOf: Fault,
  });
  for (const key of ["rank", "surprise", "base", "steps"]) t.true(fault.message.includes(key), key);
});

test("only reports are read from the process's output", (t) => {
  t.deepEqual(parseTrainingReport('{"kind":"progress","step":1,"steps":2,"loss":3}'), {
    kind: "progress",
    step: 1,
    steps: 2,
    loss: 3,
  });
  for (const line of ["", "loaded backend", '{"kind":', '{"kind":"fault","code":"made-up"}']) {
    t.is(parseTrainingReport(line), undefined);
  }
});

test("a model that the graph can't express is refused before ggml sees it", (t) => {
  const file = readGguf(writeTinyModel(folder));
  const shape = readLlamaShape(file);
  t.is(shape.embedding, TINY_SIZES.embedding);
  t.true(shape.tiedOutput);
  const refuse = (changes: Partial<typeof file>, message: RegExp) => {
    const fault = t.throws(() => readLlamaShape({ ...file, ...changes }), {
      instanceOf: Fault,
      message,
    });
    t.is(fault.code, "unsupported");
  };
  const withKey = (key: string, value: ReturnType<typeof ggufUint32>) => ({
    metadata: new Map([...file.metadata, [key, value]]),
  });
  refuse(withKey("general.architecture", ggufString("qwen2")), /qwen2/);
  refuse(withKey("llama.rope.scaling.type", ggufString("yarn")), /yarn/);
  refuse(withKey("llama.attention.head_count_kv", ggufUint32(3)), /key-value heads/);
  refuse(withKey("llama.feed_forward_length", ggufUint32(128)), /ffn_gate/);
  const tensors = new Map(file.tensors);
  const [first] = tensors.values();
  if (first) tensors.set("blk.0.attn_q.bias", first);
  refuse({ tensors }, /attn_q.bias/);
  refuse({ tensors: new Map() }, /token_embd.weight is absent/);
});
