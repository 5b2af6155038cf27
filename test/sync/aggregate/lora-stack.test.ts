// Stacks of LoRA updates: exact whatever the ranks, the same bytes in any order, and what the
// campaign's rank keeps of them is the best there is.
import test from "ava";
import fc from "fast-check";
import { pairOf, stackDeltas } from "../../../sync/aggregate/lora-stack.ts";
import {
  frobeniusNorm,
  fromRows,
  type Matrix,
  matrix,
  multiply,
  scaled,
  sum,
} from "../../../sync/aggregate/matrix.ts";
import { joinPartials, type RegionPartial } from "../../../sync/aggregate/merge-partials.ts";
import { mergeStacks } from "../../../sync/aggregate/merge-stacks.ts";
import { mergeWeight } from "../../../sync/aggregate/weight-merge.ts";
import { firstComponents } from "../../../sync/delta/rank-slice.ts";
import type { TensorMap } from "../../../sync/delta/tensor-map.ts";
import { encodeSafetensors } from "../../../sync/formats/safetensors.ts";
import { permutation, seededRandom } from "../../../sync/formats/seeded-random.ts";

const WEIGHT = "blk.0.attn_q.weight";
const tensorsOf = (b: Matrix, a: Matrix): TensorMap =>
  new Map([
    [`${WEIGHT}.lora_a`, { shape: [a.rows, a.columns], data: Float32Array.from(a.data) }],
    [`${WEIGHT}.lora_b`, { shape: [b.rows, b.columns], data: Float32Array.from(b.data) }],
  ]);
const productOf = (tensors: TensorMap): Matrix => {
  const a = tensors.get(`${WEIGHT}.lora_a`)!;
  const b = tensors.get(`${WEIGHT}.lora_b`)!;
  return multiply(
    matrix(b.shape[0]!, b.shape[1]!, b.data),
    matrix(a.shape[0]!, a.shape[1]!, a.data),
  );
};
const distance = (x: Matrix, y: Matrix) => frobeniusNorm(sum(x, scaled(y, -1)));
const bytesOf = (tensors: TensorMap) => Buffer.from(encodeSafetensors({ metadata: {}, tensors }));
const random = seededRandom(20);
const randomPair = (out: number, rank: number, into: number): TensorMap => {
  const numbers = (n: number) => Array.from({ length: n }, () => random.gauss());
  return tensorsOf(
    matrix(out, rank, numbers(out * rank)),
    matrix(rank, into, numbers(rank * into)),
  );
};
const minus = (x: TensorMap, y: TensorMap): TensorMap =>
  new Map(
    [...x].map(([name, { shape, data }]) => {
      return [name, { shape, data: data.map((value, i) => value - y.get(name)!.data[i]!) }];
    }),
  );
const part = (name: string, weight: number, delta: TensorMap, factor = 1) => ({
  ...{ name, weight, factor, edges: [name] },
  load: () => delta,
});
async function partialOf(region: string, start: TensorMap, parts: ReturnType<typeof part>[]) {
  const tensors = await stackDeltas(start, 1, parts);
  const weight = parts.reduce((total, one) => total + one.weight, 0);
  return { region, weight, contributors: parts.map(({ name }) => name), load: () => tensors };
}

// biome-ignore format: matrices read best as rows
const known = {
  first: tensorsOf(fromRows([[1, 0], [0, 1], [1, 1]]), fromRows([[1, 2, 0, 1], [0, 1, 1, 0]])),
  second: tensorsOf(fromRows([[0, 1], [2, 0], [1, -1]]), fromRows([[2, 0, 1, 1], [1, 1, 0, 2]])),
  exact: fromRows([[1, 1.25, 0, 1.75], [3, 0.25, 1.75, 1.5], [1, 0, 1, -0.5]]),
};
const zero = tensorsOf(matrix(3, 2), matrix(2, 4));
/** A fresh adapter: B is 0, A is not. */
const fresh = tensorsOf(
  matrix(3, 2),
  fromRows([
    [1, 0, 0, 0],
    [0, 1, 0, 0],
  ]),
);

test("a region's stack is the known exact sum of the updates", async (t) => {
  const stack = await stackDeltas(zero, 1, [
    part("a", 0.25, known.first),
    part("b", 0.75, known.second),
  ]);
  t.true(distance(productOf(stack), known.exact) < 1e-12);
});

test("cut to rank 2, the known mean of two regions loses its last singular value", async (t) => {
  const changes = [minus(known.first, fresh), minus(known.second, fresh)];
  const us = await partialOf("us", fresh, [part("a", 1, changes[0]!)]);
  const eu = await partialOf("eu", fresh, [part("a", 3, changes[1]!)]);
  for (const order of ["largest-first", "like-start"] as const) {
    const { tensors, kept } = await mergeStacks(fresh, [us, eu], { scale: 1, order });
    const lost = distance(productOf(tensors), known.exact);
    t.true(Math.abs(lost - 0.51636) < 5e-6, `${order}: ${lost}`);
    const whole = frobeniusNorm(known.exact) ** 2;
    t.true(Math.abs(kept - (1 - 0.51636 ** 2 / whole)) < 1e-6);
  }
});

test("the scale of the adapter goes into the stack and comes out of the merge", async (t) => {
  const start = randomPair(7, 2, 6);
  const change = randomPair(7, 2, 6);
  const tensors = await stackDeltas(start, 2, [part("a", 5, change)]);
  const partial = { region: "us", weight: 5, contributors: ["a"], load: () => tensors };
  const merged = await mergeStacks(start, [partial], { scale: 2, order: "like-start" });
  const result = new Map(
    [...start].map(([name, { shape, data }]) => {
      return [name, { shape, data: data.map((value, i) => value + change.get(name)!.data[i]!) }];
    }),
  );
  t.true(distance(productOf(merged.tensors), productOf(result)) < 1e-5);
});

test("edges of different ranks make the mean of what each would serve", async (t) => {
  const start = randomPair(9, 4, 8);
  const whole = randomPair(9, 4, 8);
  const narrow = firstComponents(randomPair(9, 4, 8), 2);
  const merged = productOf(
    await stackDeltas(start, 1, [part("a", 1, whole), part("b", 3, narrow, 0.5)]),
  );
  const after = (delta: TensorMap, factor: number) => {
    const b = start.get(`${WEIGHT}.lora_b`)!;
    const a = start.get(`${WEIGHT}.lora_a`)!;
    const rank = delta.get(`${WEIGHT}.lora_a`)!.shape[0]!;
    const result = { a: Float64Array.from(a.data), b: Float64Array.from(b.data) };
    delta.get(`${WEIGHT}.lora_a`)!.data.forEach((value, i) => {
      result.a[i]! += factor * value;
    });
    delta.get(`${WEIGHT}.lora_b`)!.data.forEach((value, i) => {
      result.b[Math.floor(i / rank) * 4 + (i % rank)]! += factor * value;
    });
    return multiply(matrix(9, 4, result.b), matrix(4, 8, result.a));
  };
  const expected = sum(after(whole, 1), scaled(after(narrow, 0.5), 3));
  t.true(distance(merged, expected) < 1e-4, String(distance(merged, expected)));
});

test("beyond the weight's smaller side the stack becomes the product and stays so", async (t) => {
  for (const [out, into] of [
    [5, 8],
    [8, 5],
  ] as const) {
    const start = randomPair(out, 2, into);
    const parts = ["a", "b", "c", "d"].map((name, i) =>
      part(name, i + 1, randomPair(out, 2, into)),
    );
    const stack = await stackDeltas(start, 1, parts);
    t.is(stack.get(`${WEIGHT}.lora_a`)!.shape[0], 5);
    let expected = matrix(out, into);
    for (const one of parts) {
      const alone = productOf(await stackDeltas(start, 1, [one]));
      expected = sum(expected, alone);
    }
    t.true(distance(productOf(stack), expected) < 1e-4);
  }
});

test("the same edges give the same stack and the same adapter in any order", async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.integer(), fc.integer({ min: 2, max: 6 }), async (seed, count) => {
      const shuffle = seededRandom(seed);
      const start = randomPair(6, 2, 7);
      const parts = Array.from({ length: count }, (_, i) => {
        return part(`e-${i}`, 1 + shuffle.below(9), randomPair(6, 2, 7));
      });
      const shuffled = permutation(count, shuffle).map((i) => parts[i]!);
      const one = await stackDeltas(start, 0.5, parts);
      const other = await stackDeltas(start, 0.5, shuffled);
      if (!bytesOf(one).equals(bytesOf(other))) return false;
      const regions = await Promise.all(
        parts.map((alone, i) => partialOf(`r-${i}`, start, [alone])),
      );
      const options = { scale: 1, order: "largest-first" } as const;
      const merged = await mergeStacks(start, regions, options);
      const mixed = permutation(count, shuffle).map((i) => regions[i]!);
      const again = await mergeStacks(start, mixed, options);
      return bytesOf(merged.tensors).equals(bytesOf(again.tensors));
    }),
    { seed: 21, numRuns: 40 },
  );
  t.pass();
});

test("joining partials is associative and order-free, down to the merged bytes", async (t) => {
  const start = randomPair(6, 2, 7);
  const all = await Promise.all(
    ["ap", "eu", "sa", "us"].map((region) => {
      return partialOf(region, start, [part("e", 2, randomPair(6, 2, 7))]);
    }),
  );
  const expected = await bytesMerged(start, all);
  await fc.assert(
    fc.asyncProperty(fc.integer(), async (seed) => {
      const shuffle = seededRandom(seed);
      let groups: (readonly RegionPartial[])[] = all.map((one) => [one]);
      while (groups.length > 1) {
        const i = shuffle.below(groups.length);
        const [taken] = groups.splice(i, 1) as [readonly RegionPartial[]];
        const j = shuffle.below(groups.length);
        groups = groups.map((group, k) => (k === j ? joinPartials(group, taken) : group));
      }
      return expected.equals(await bytesMerged(start, groups[0]!));
    }),
    { seed: 22, numRuns: 30 },
  );
  t.throws(() => joinPartials(all, [all[0]!]), { message: /ap/ });
});

async function bytesMerged(start: TensorMap, partials: readonly RegionPartial[]) {
  const { tensors } = await mergeStacks(start, partials, { scale: 1, order: "like-start" });
  return bytesOf(tensors);
}

test("nothing, a name twice, and what isn't the start's shape are refused by name", async (t) => {
  const change = minus(known.first, fresh);
  await t.throwsAsync(stackDeltas(fresh, 1, []), { message: /nothing to stack/ });
  const twice = stackDeltas(fresh, 1, [part("a", 1, change), part("a", 1, change)]);
  await t.throwsAsync(twice, { message: /a contributes twice/ });
  const strange = stackDeltas(fresh, 1, [part("a", 1, randomPair(4, 2, 4))]);
  await t.throwsAsync(strange, { message: /a: tensor .*lora_b is 4×2 instead of 3×2/ });
  const higher = stackDeltas(fresh, 1, [part("a", 1, randomPair(3, 3, 4))]);
  await t.throwsAsync(higher, { message: /instead of 2×4/ });
  const partial = { region: "us", weight: 1, contributors: ["a"], load: () => randomPair(4, 2, 4) };
  const options = { scale: 1, order: "like-start" } as const;
  await t.throwsAsync(mergeStacks(fresh, [partial], options), { message: /us doesn't fit/ });
  await t.throwsAsync(mergeStacks(fresh, [], options), { message: /nothing to merge/ });
});

test("threads give the bytes that one gives, and leave the event loop free", async (t) => {
  const start = randomPair(160, 8, 192);
  const parts = ["a", "b", "c", "d", "e", "f"].map((name) =>
    part(name, 1, randomPair(160, 8, 192)),
  );
  const partial = await partialOf("us", start, parts);
  const order = "largest-first";
  let turns = 0;
  const beat = setInterval(() => turns++, 1);
  const one = await mergeStacks(start, [partial], { scale: 1, order, threadsMax: 1 });
  clearInterval(beat);
  t.true(turns > 0);
  const two = await mergeStacks(start, [partial], { scale: 1, order, threadsMax: 2 });
  t.deepEqual(bytesOf(one.tensors), bytesOf(two.tensors));
  const inPlace = mergeWeight({
    mean: {
      a: pairOf(partial.load(), WEIGHT).a,
      b: scaled(pairOf(partial.load(), WEIGHT).b, 1 / 6),
    },
    ...{ start: pairOf(start, WEIGHT), order },
  });
  t.deepEqual(bytesOf(tensorsOf(inPlace.merged.b, inPlace.merged.a)), bytesOf(one.tensors));
});
