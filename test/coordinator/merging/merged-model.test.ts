// A merged model says what its base says with the adapter beside it, through the real engine.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import type { GenerateJob } from "../../../edge-node/engine/engine.ts";
import { createLlamaEngine } from "../../../edge-node/engine/llama/llama-engine.ts";
import { writeGgufAdapter } from "../../../sync/formats/gguf-adapter.ts";
import { readGguf } from "../../../sync/formats/gguf-reader.ts";
import { type MergeAdapter, mergeLora } from "../../../sync/formats/lora-merge.ts";
import { seededRandom } from "../../../sync/formats/seeded-random.ts";
import { TensorType } from "../../../sync/formats/tensor-type.ts";

const MASTER = "deploy/demo-model/commands-f16.gguf";
const RANK = 4;
const dir = mkdtempSync(join(tmpdir(), "isthmus-merged-"));
test.after.always(() => rmSync(dir, { recursive: true }));

/** Large enough to change what the model says. */
function writeAdapter(): string {
  const path = join(dir, "adapter.gguf");
  const random = seededRandom(3);
  const numbers = (count: number, size: number) =>
    Float32Array.from({ length: count }, () => random.gauss() * size);
  const matrices = [...readGguf(MASTER).tensors.values()].filter(({ name }) =>
    /attn_(q|v)\.weight$/.test(name),
  );
  const modules = matrices.map(({ name, dimensions: [inputs = 0, outputs = 0] }) => {
    const [a, b] = [numbers(RANK * inputs, 0.3), numbers(outputs * RANK, 0.1)];
    return [name, { rank: RANK, inputs, outputs, a, b }] as const;
  });
  writeGgufAdapter(path, { architecture: "llama", alpha: RANK, modules: new Map(modules) });
  return path;
}

async function saidBy(modelPath: string, adapters: readonly MergeAdapter[]): Promise<number[]> {
  const version = { id: "v", adapters };
  const settings = { slots: 1, contextSize: 256, threads: 1, gpu: false, log: () => {} } as const;
  const { signal } = new AbortController();
  const engine = await createLlamaEngine({ modelPath, version, ...settings }, signal);
  const ids: number[] = [];
  const prompt = { kind: "text", text: "user: play the next song" } as const;
  const job: GenerateJob = {
    ...{ prompt, resume: null, maxTokens: 16, priority: "interactive", version: "" },
    ...{ temperature: 0, topP: 1, topK: 0, minP: 0, seed: 0, repeatPenalty: null, stop: [] },
    ...{ constraint: null, topLogprobs: null },
  };
  await engine.generate(
    job,
    (event) => {
      if (event.kind === "tokens") ids.push(...event.ids);
    },
    signal,
  );
  await engine.close();
  return ids;
}

test("merged into the master and quantized, it says what master and adapter say", async (t) => {
  const adapters = [{ path: writeAdapter(), scale: 1 }];
  const merged = join(dir, "merged.gguf");
  mergeLora(MASTER, adapters, merged, TensorType.q8_0);
  const plain = await saidBy(MASTER, []);
  const beside = await saidBy(MASTER, adapters);
  t.notDeepEqual(beside, plain, "the adapter changes something");
  t.deepEqual(await saidBy(merged, []), beside);
});
