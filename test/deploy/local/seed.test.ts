// What a new mesh is given: the model, the public examples, and each edge's private ones.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import { writePrivateExamples } from "../../../deploy/local/examples.ts";
import { meshLayout } from "../../../deploy/local/layout.ts";
import { startMesh } from "../../../deploy/local/mesh.ts";
import { modelName, resolveModel } from "../../../deploy/local/model-source.ts";
import { seedMesh } from "../../../deploy/local/seed.ts";
import { UsageError } from "../../../deploy/local/usage-error.ts";
import { fakePlace } from "./fake-mesh.ts";

const promptsOf = async (path: string): Promise<string[]> =>
  (await readFile(path, "utf8"))
    .trimEnd()
    .split("\n")
    .map((line) => (JSON.parse(line) as { prompt: string }).prompt);

test.serial(
  "the first start publishes the model and its public examples, later ones nothing",
  async (t) => {
    await using place = await fakePlace(["us"]);
    const path = join(place.dir, "tiny.gguf");
    await writeFile(path, "not read by fakes");
    await using mesh = await startMesh(place.options);
    const source = { model: "commands", path, isDemo: true };
    const { coordinator } = mesh.layout;
    await seedMesh(coordinator.http, source, place.dir, () => {});
    const taken = (await readFile(join(coordinator.dir, "taken.jsonl"), "utf8"))
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    t.is(taken.length, 4);
    for (const { path: at, sha256 } of taken.slice(0, 3)) t.is(at, `/v1/artifacts/${sha256}`);
    const { json, path: at } = taken[3];
    t.is(at, "/v1/models");
    t.is(json.model, "commands");
    t.deepEqual(
      [json.base, json.replay, json.heldout].map(({ name, sha256 }) => [name, sha256]),
      taken.slice(0, 3).map(({ name, sha256 }) => [name, sha256]),
    );
    t.is(json.base.bytes, "not read by fakes".length);
    await seedMesh(coordinator.http, source, place.dir, () => {});
    await writeFile(path, "another model");
    await seedMesh(coordinator.http, { ...source, isDemo: false }, place.dir, () => {});
    const later = (await readFile(join(coordinator.dir, "taken.jsonl"), "utf8"))
      .trimEnd()
      .split("\n");
    t.is(later.length, 4 + 2, "the same file once; another file again, without the examples");
  },
);

test("edges share no private example, and none is trained on that is judged by", async (t) => {
  await using place = await fakePlace(["us"]);
  const regions = ["us", "eu", "ap", "sa", "af", "oc"];
  const layout = meshLayout({ dir: place.dir, regions, edges: 2, portBase: 8400 });
  const data = writePrivateExamples(layout);
  t.is(data.size, 12);
  const seen = new Map<string, string>();
  for (const [edge, { train, heldout }] of data) {
    const judged = new Set(await promptsOf(heldout));
    const prompts = await promptsOf(train);
    t.true(prompts.length >= 100 && judged.size >= 50);
    for (const prompt of prompts) {
      t.is(seen.get(prompt) ?? edge, edge, prompt);
      t.false(judged.has(prompt));
      seen.set(prompt, edge);
    }
  }
  t.deepEqual(
    ["us-1", "eu-1", "ap-1", "sa-1"].map((edge) => data.get(edge)?.name),
    ["media", "appliance", "garden", "media"],
  );
});

test("a model is named after its file; a missing file is refused by option", async (t) => {
  t.is(modelName("/models/Qwen2.5-0.5B.Q4_0.gguf"), "Qwen2.5-0.5B.Q4_0");
  t.is(modelName("my model (1).GGUF"), "my-model-1");
  t.throws(() => modelName("/x/...gguf"), { instanceOf: UsageError });
  const missing = await t.throwsAsync(resolveModel("/nowhere/x.gguf", "."), {
    instanceOf: UsageError,
  });
  t.regex(missing?.message ?? "", /--model.*\/nowhere\/x\.gguf/);
});
