// The server's part of a round: means by sums and stacks, optimizers with a memory on disk, and the
// same bytes when it is done again.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { z } from "zod";
import type { RoundPrivacy } from "../../../coordinator/privacy/round-privacy.ts";
import type { CampaignState, RoundState } from "../../../coordinator/rounds/campaign-state.ts";
import { type KindedPartial, updateGlobal } from "../../../coordinator/rounds/global-update.ts";
import { planSections } from "../../../coordinator/rounds/plan/plan-sections.ts";
import { denseUpdate } from "../../../sync/aggregate/lora-aggregation.ts";
import { pairOf, stackDeltas } from "../../../sync/aggregate/lora-stack.ts";
import { roundSum, sumWeighted } from "../../../sync/aggregate/weighted-sum.ts";
import type { TensorMap } from "../../../sync/delta/tensor-map.ts";
import { encodeSafetensors } from "../../../sync/formats/safetensors.ts";
import { seededRandom } from "../../../sync/formats/seeded-random.ts";
import { serverDefaults, serverOptimizers } from "../../../sync/strategy/server-optimizer.ts";
import { encodeServerState } from "../../../sync/strategy/server-state.ts";

const random = seededRandom(50);
const adapterOf = (size: number): TensorMap => {
  const numbers = (n: number) => Float32Array.from({ length: n }, () => size * random.gauss());
  return new Map([
    ["w.lora_a", { shape: [2, 6], data: numbers(12) }],
    ["w.lora_b", { shape: [5, 2], data: numbers(10) }],
  ]);
};
const start = adapterOf(1);
const deltas = [adapterOf(0.1), adapterOf(0.1), adapterOf(0.1)];
const bytesOf = (tensors: TensorMap) => Buffer.from(encodeSafetensors({ metadata: {}, tensors }));
const round = { number: 1 } as RoundState;
const privacy = {} as RoundPrivacy;
const campaignOf = (strategy: object) =>
  ({
    ...z.strictObject(planSections).parse({ strategy }),
    params: { rank: 2, alpha: 4 },
  }) as unknown as CampaignState;

async function partialsOf(kind: "sum" | "stack", of = deltas): Promise<KindedPartial[]> {
  return await Promise.all(
    of.map(async (delta, i) => {
      const part = { name: "e", weight: i + 1, factor: 1, load: () => delta };
      const tensors =
        kind === "stack"
          ? await stackDeltas(start, 2, [part])
          : roundSum(await sumWeighted([part]));
      return { kind, region: `r-${i}`, weight: i + 1, contributors: ["e"], load: () => tensors };
    }),
  );
}
const inputOf = async (
  strategy: object,
  kind: "sum" | "stack",
  memoryPath: string | null = null,
) => ({
  ...{ campaign: campaignOf(strategy), round, privacy, start, memoryPath },
  partials: await partialsOf(kind),
});

test("FedAvg at rate 1 over sums is the start plus the weighted mean", async (t) => {
  const { tensors, memory } = await updateGlobal(await inputOf({ lora: "average" }, "sum"));
  t.is(memory, null);
  for (const [name, { data }] of tensors) {
    for (const [i, value] of data.entries()) {
      const mean = deltas.reduce((sum, d, k) => sum + ((k + 1) / 6) * d.get(name)!.data[i]!, 0);
      t.true(Math.abs(value - (start.get(name)!.data[i]! + mean)) < 1e-6);
    }
  }
});

test("every optimizer, over sums and stacks, gives the same bytes in any order", async (t) => {
  const dir = mkdtempSync(join(tmpdir(), "isthmus-server-"));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  for (const server of serverOptimizers) {
    for (const kind of ["sum", "stack"] as const) {
      const lora = kind === "sum" ? "average" : "stack";
      const first = await updateGlobal(await inputOf({ server, lora }, kind));
      t.is(first.memory === null, server === "fedavg");
      const memoryPath = first.memory && join(dir, `${server}-${kind}`);
      if (memoryPath) writeFileSync(memoryPath, encodeServerState(first.memory!));
      const input = await inputOf({ server, lora }, kind, memoryPath);
      const second = await updateGlobal(input);
      const again = await updateGlobal({ ...input, partials: [...input.partials].reverse() });
      t.deepEqual(bytesOf(again.tensors), bytesOf(second.tensors));
      if (second.memory) {
        t.is(second.memory.rounds, 2);
        t.deepEqual(encodeServerState(again.memory!), encodeServerState(second.memory));
        t.notDeepEqual(bytesOf(second.tensors), bytesOf(first.tensors), "the memory counts");
      }
    }
  }
});

test("FedAvg at half the rate goes half the way", async (t) => {
  const whole = await updateGlobal(await inputOf({ lora: "average" }, "sum"));
  const half = await updateGlobal(await inputOf({ lora: "average", lr: 0.5 }, "sum"));
  for (const [name, { data }] of half.tensors) {
    for (const [i, value] of data.entries()) {
      const from = start.get(name)!.data[i]!;
      t.true(Math.abs(value - (from + (whole.tensors.get(name)!.data[i]! - from) / 2)) < 1e-6);
    }
  }
});

test("FedAvg over stacks goes its rate of the way in products, not in factors", async (t) => {
  const still = { shape: [2, 6], data: new Float32Array(12) };
  // With changes of B alone nothing is cut off: the product keeps the campaign's rank.
  const partials = await partialsOf(
    "stack",
    deltas.map((delta) => new Map([...delta, ["w.lora_a", still]])),
  );
  const productAt = async (lr: number) => {
    const { tensors, memory } = await updateGlobal({
      ...(await inputOf({ lr }, "stack")),
      partials,
    });
    t.is(memory, null);
    return denseUpdate(pairOf(tensors, "w")).data;
  };
  const from = denseUpdate(pairOf(start, "w")).data;
  const mean = await productAt(1);
  for (const rate of [0.5, 1.5, 2]) {
    for (const [i, value] of (await productAt(rate)).entries()) {
      t.true(Math.abs(value - (from[i]! + rate * (mean[i]! - from[i]!))) < 1e-5);
    }
  }
});

test("a frozen A stays the start's to the last bit, whatever the optimizer", async (t) => {
  for (const server of ["fedavg", "fedadam"] as const) {
    const { tensors } = await updateGlobal(await inputOf({ server, lora: "freeze-a" }, "sum"));
    t.deepEqual(tensors.get("w.lora_a"), start.get("w.lora_a"));
    t.notDeepEqual(tensors.get("w.lora_b"), start.get("w.lora_b"));
  }
});

test("another optimizer's memory is not taken over", async (t) => {
  const dir = mkdtempSync(join(tmpdir(), "isthmus-server-"));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const plan = { server: "fedavgm", lora: "average" };
  const { memory } = await updateGlobal(await inputOf(plan, "sum"));
  const memoryPath = join(dir, "memory");
  writeFileSync(memoryPath, encodeServerState(memory!));
  const other = { server: "nesterov", lora: "average" };
  const fresh = await updateGlobal(await inputOf(other, "sum"));
  const after = await updateGlobal(await inputOf(other, "sum", memoryPath));
  t.deepEqual(bytesOf(after.tensors), bytesOf(fresh.tensors));
  t.is(after.memory!.rounds, 1);
  t.is(serverDefaults.nesterov.learningRate, 0.7);
});

test("sums and stacks in one round, and stacks on nothing, are refused", async (t) => {
  const [sums, stacks] = [await partialsOf("sum"), await partialsOf("stack")];
  const input = await inputOf({}, "stack");
  const mixed = updateGlobal({ ...input, partials: [sums[0]!, stacks[1]!] });
  await t.throwsAsync(mixed, { message: /some regions sent sums/ });
  await t.throwsAsync(updateGlobal({ ...input, start: null }), { message: /without a start/ });
  writeFileSync(join(tmpdir(), `isthmus-memory-${process.pid}`), bytesOf(start));
  const path = join(tmpdir(), `isthmus-memory-${process.pid}`);
  t.teardown(() => rmSync(path));
  const strange = updateGlobal({ ...(await inputOf({ server: "fedavgm" }, "stack", path)) });
  await t.throwsAsync(strange, { message: /not the memory of a server optimizer/ });
});
