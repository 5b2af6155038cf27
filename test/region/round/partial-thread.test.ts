// A large partial is made in a thread: the same bytes as in place, and little for the event loop.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { doPartialJob, type PartialJob } from "../../../region/round/partial-job.ts";
import { runPartialJob } from "../../../region/round/partial-thread.ts";
import { normOf, scaleTensors, type TensorMap } from "../../../sync/delta/tensor-map.ts";
import { encodeSafetensors } from "../../../sync/formats/safetensors.ts";
import { seededRandom } from "../../../sync/formats/seeded-random.ts";
import type { CombineName } from "../../../sync/strategy/tier-verdict.ts";
import type { LoraMode } from "../../../sync/strategy/wire-rule.ts";

const RANK = 8;
const SIDE = 8_192;
const EDGES = 9;
const dir = mkdtempSync(join(tmpdir(), "isthmus-partial-"));
test.after.always(() => rmSync(dir, { recursive: true, force: true }));

function adapterOf(seed: number): TensorMap {
  const random = seededRandom(seed);
  const numbers = () => Float32Array.from({ length: RANK * SIDE }, () => random.next() - 0.5);
  return new Map([
    ["blk.0.attn_q.weight.lora_a", { shape: [RANK, SIDE], data: numbers() }],
    ["blk.0.attn_q.weight.lora_b", { shape: [SIDE, RANK], data: numbers() }],
  ]);
}

function written(name: string, tensors: TensorMap): string {
  const path = join(dir, name);
  writeFileSync(path, encodeSafetensors({ metadata: {}, tensors }));
  return path;
}

const startPath = written("start", adapterOf(0));
const members = Array.from({ length: EDGES }, (_, i) => {
  const delta = scaleTensors(adapterOf(i + 1), i === 3 ? 100 : 0.1);
  const path = written(`delta-${i}`, delta);
  return { edge: `us-${i}`, weight: 10 + i, rank: RANK, norm: normOf(delta), path };
});

function jobOf(combine: CombineName, lora: LoraMode, name: string): PartialJob {
  const at = join(dir, `${combine}-${lora}-${name}`);
  mkdirSync(at);
  const rule = { combine: { combine, byzantine: 1, trimShare: 0.2, normBound: 0 }, lora };
  return { members, startPath, rule, scale: 2, path: join(at, "partial"), dir: at };
}

const rules = [
  ["robust", "stack"],
  ["multi-krum", "average"],
  ["bulyan", "average"],
] as const;

for (const [combine, lora] of rules) {
  test.serial(`a thread makes of ${combine} and ${lora} what is made in place`, async (t) => {
    const here = jobOf(combine, lora, "here");
    const there = jobOf(combine, lora, "there");
    const before = process.threadCpuUsage();
    const outcome = await doPartialJob(here);
    const inPlace = process.threadCpuUsage(before);
    const between = process.threadCpuUsage();
    t.deepEqual(await runPartialJob(there), outcome);
    const beside = process.threadCpuUsage(between);
    t.true(readFileSync(there.path).equals(readFileSync(here.path)));
    t.true(outcome.leftOut.some(({ edge }) => edge === "us-3"));
    // Of this thread alone, however busy the machine is.
    const share = (beside.user + beside.system) / (inPlace.user + inPlace.system);
    t.log(`the event loop's thread does ${(100 * share).toFixed(0)} % of what it did in place`);
    t.true(share < 0.5, String(share));
  });
}

test.serial("what fails in the thread is told with its code", async (t) => {
  const job = jobOf("mean", "average", "broken");
  const broken = written("broken", new Map([...adapterOf(1)].slice(0, 1)));
  const [first, ...others] = members;
  const wrong = { ...job, members: [{ ...first!, path: broken }, ...others] };
  await t.throwsAsync(runPartialJob(wrong), { message: /^us-1: tensor .*lora_b is unknown$/ });
});
