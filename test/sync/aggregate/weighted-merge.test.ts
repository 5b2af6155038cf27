// Sums and means over contributors and regions: the known answers, and the same bits in any order.
import test from "ava";
import fc from "fast-check";
import { mergePartials, type RegionPartial } from "../../../sync/aggregate/merge-partials.ts";
import { type Contribution, roundSum, sumWeighted } from "../../../sync/aggregate/weighted-sum.ts";
import type { TensorMap } from "../../../sync/delta/tensor-map.ts";
import { encodeSafetensors } from "../../../sync/formats/safetensors.ts";
import { permutation, seededRandom } from "../../../sync/formats/seeded-random.ts";

const map = (...values: number[]): TensorMap =>
  new Map([["x", { shape: [values.length], data: Float32Array.from(values) }]]);
const bytesOf = (tensors: TensorMap) => Buffer.from(encodeSafetensors({ metadata: {}, tensors }));
const contribution = (name: string, weight: number, tensors: TensorMap): Contribution => ({
  name,
  weight,
  load: () => tensors,
});

async function partialOf(region: string, contributions: Contribution[]): Promise<RegionPartial> {
  const sum = await sumWeighted(contributions);
  const { weight, contributors } = sum;
  return { region, weight, contributors, load: () => roundSum(sum) };
}

test("the weighted mean of 1 (n = 1) and 3 (n = 2) is 7/3, in one region or two", async (t) => {
  const one = contribution("a", 1, map(1));
  const three = contribution("b", 2, map(3));
  const together = await mergePartials(null, [await partialOf("us", [one, three])]);
  t.is(together.get("x")!.data[0], Math.fround(7 / 3));
  const apart = [await partialOf("us", [one]), await partialOf("eu", [three])];
  t.is((await mergePartials(null, apart)).get("x")!.data[0], Math.fround(7 / 3));
  t.is((await mergePartials(map(10), apart)).get("x")!.data[0], Math.fround(10 + 7 / 3));
});

const floats = fc.float({ noNaN: true, noDefaultInfinity: true, min: -1e6, max: 1e6 });
/** Numbers that cancel, or swallow each other, so that even f64 depends on the order. */
const wild = fc.constantFrom(2 ** 70, -(2 ** 70), 1, 3, -5, 2 ** 60, -(2 ** 60));
const cohortOf = (numbers: fc.Arbitrary<number>, weightMax: number) =>
  fc
    .uniqueArray(fc.string({ minLength: 1, maxLength: 4 }), {
      minLength: 3,
      maxLength: 9,
      size: "max",
    })
    .chain((names) =>
      fc.tuple(
        ...names.map((name) =>
          fc.record({
            name: fc.constant(name),
            weight: fc.integer({ min: 1, max: weightMax }),
            values: fc.array(numbers, { minLength: 5, maxLength: 5 }),
          }),
        ),
      ),
    );

test("the same contributors give the same bytes in whatever order they come", async (t) => {
  let orderMattered = 0;
  await fc.assert(
    fc.asyncProperty(cohortOf(wild, 2), fc.integer(), async (members, seed) => {
      const all = members.map(({ name, weight, values }) =>
        contribution(name, weight, map(...values)),
      );
      const shuffled = permutation(all.length, seededRandom(seed)).map((i) => all[i]!);
      const expected = bytesOf(roundSum(await sumWeighted(all)));
      if (naiveSums(all).some((sum, i) => sum !== naiveSums(shuffled)[i])) orderMattered++;
      return expected.equals(bytesOf(roundSum(await sumWeighted(shuffled))));
    }),
    { seed: 7, numRuns: 300 },
  );
  t.true(orderMattered > 10, `order mattered to a naive sum in ${orderMattered} runs`);
});

/** What the sums would be in the order of arrival. */
function naiveSums(all: readonly Contribution[]): readonly number[] {
  return all.reduce<readonly number[]>(
    (sums, { weight, load }) => {
      const { data } = (load() as TensorMap).get("x")!;
      return sums.map((sum, i) => sum + weight * data[i]!);
    },
    [0, 0, 0, 0, 0],
  );
}

test("partials merge to the same bytes in any order of regions, near the plain mean", async (t) => {
  await fc.assert(
    fc.asyncProperty(cohortOf(floats, 100_000), async (members) => {
      const regions = ["us", "eu", "ap"].slice(0, members.length);
      const partials = await Promise.all(
        regions.map((region, r) =>
          partialOf(
            region,
            members
              .filter((_, i) => i % regions.length === r)
              .map(({ name, weight, values }) => contribution(name, weight, map(...values))),
          ),
        ),
      );
      const merged = await mergePartials(null, partials);
      const reversed = await mergePartials(null, [...partials].reverse());
      const total = members.reduce((sum, { weight }) => sum + weight, 0);
      const size = Math.max(...members.flatMap(({ values }) => values.map(Math.abs)));
      const close = merged.get("x")!.data.every((value, i) => {
        const mean = members.reduce((sum, m) => sum + (m.weight * m.values[i]!) / total, 0);
        return Math.abs(value - mean) <= 1e-6 * size + 1e-30;
      });
      return close && bytesOf(merged).equals(bytesOf(reversed));
    }),
    { seed: 8, numRuns: 200 },
  );
  t.pass();
});

test("1000 additions lose nothing that f32 could hold", async (t) => {
  const all = Array.from({ length: 1000 }, (_, i) => contribution(`e-${i}`, 3, map(0.1)));
  const mean = await mergePartials(null, [await partialOf("us", all)]);
  t.is(mean.get("x")!.data[0], Math.fround(0.1));
});

test("only one contributor's numbers are loaded at a time", async (t) => {
  let loaded = 0;
  let most = 0;
  const all = Array.from({ length: 5 }, (_, i) => ({
    name: `e-${i}`,
    weight: 1,
    load: async () => {
      most = Math.max(most, ++loaded);
      await Promise.resolve();
      loaded--;
      return map(i);
    },
  }));
  await sumWeighted(all);
  t.is(most, 1);
});

test("nothing, a contributor twice, a bad weight or another layout is refused", async (t) => {
  const good = contribution("a", 1, map(1));
  const bad: [string, Contribution[]][] = [
    ["nothing to sum", []],
    ["a contributes twice", [good, good]],
    ["a has the weight 0", [contribution("a", 0, map(1))]],
    ["a has the weight NaN", [contribution("a", Number.NaN, map(1))]],
    ["b: tensor x is 2 instead of 1", [good, contribution("b", 1, map(1, 2))]],
  ];
  for (const [message, contributions] of bad) {
    await t.throwsAsync(sumWeighted(contributions), { message });
  }
  const us = await partialOf("us", [good]);
  await t.throwsAsync(mergePartials(null, [us, us]), { message: "us/a contributes twice" });
  await t.throwsAsync(mergePartials(map(1, 2), [us]), { message: /the partials: tensor x is 1/ });
  await t.throwsAsync(mergePartials(null, [{ ...us, weight: -1 }]), { message: /the weight -1/ });
});
