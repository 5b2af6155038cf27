// Sums of delta files: the bytes of the plain sum over decoded numbers, whatever the codecs, the
// threads, the order and the sizes.
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import fc from "fast-check";
import { sumDeltas } from "../../../sync/aggregate/delta-sum.ts";
import { roundSum, sumWeighted } from "../../../sync/aggregate/weighted-sum.ts";
import { type CodecName, codecNames } from "../../../sync/delta/codec/delta-format.ts";
import { readDelta } from "../../../sync/delta/codec/delta-numbers.ts";
import type { TensorMap } from "../../../sync/delta/tensor-map.ts";
import { encodeSafetensors } from "../../../sync/formats/safetensors.ts";
import { permutation, seededRandom } from "../../../sync/formats/seeded-random.ts";
import { PIECE_NUMBERS } from "../../../sync/kernel/sum-kernel.ts";
import { type Member, temporaryFolder, writeMembers } from "../kernel/delta-folder.ts";

/** Around the ends of blocks and pieces. */
const sizes = [0, 1, 63, 64, 65, 1000, PIECE_NUMBERS - 1, PIECE_NUMBERS, PIECE_NUMBERS + 1];

function tensorsOf(counts: readonly number[], seed: number): TensorMap {
  const random = seededRandom(seed);
  return new Map(
    counts.map((count, i) => {
      // Magnitudes far apart, so that the order of additions shows in the last bits.
      const number = () => (random.next() - 0.5) * 2 ** Math.floor(random.next() * 60 - 30);
      return [`t${i}`, { shape: [count], data: Float32Array.from({ length: count }, number) }];
    }),
  );
}

function member(name: string, weight: number, codec: CodecName, tensors: TensorMap): Member {
  return { name, weight, format: { codec, topShare: 0.03 }, tensors };
}

/** What sumWeighted makes of the decoded files. */
async function plainBytes(contributions: Awaited<ReturnType<typeof writeMembers>>) {
  const sum = await sumWeighted(
    contributions.map(({ name, weight, path }) => ({
      name,
      weight,
      load: async () => (await readDelta(path)).tensors,
    })),
  );
  return Buffer.from(encodeSafetensors({ metadata: {}, tensors: roundSum(sum) }));
}

const cohort = fc.record({
  codecs: fc.array(fc.constantFrom(...codecNames), { minLength: 1, maxLength: 12, size: "max" }),
  counts: fc.array(fc.constantFrom(...sizes), { minLength: 1, maxLength: 3 }),
  threadsMax: fc.integer({ min: 1, max: 3 }),
  seed: fc.nat(),
});

test("a sum of files has the bytes of the plain sum, in any order, codec and thread", async (t) => {
  const dir = await temporaryFolder(t);
  const output = join(dir, "sum");
  await fc.assert(
    fc.asyncProperty(cohort, async ({ codecs, counts, threadsMax, seed }) => {
      const random = seededRandom(seed);
      const members = codecs.map((codec, i) =>
        member(`e${i}`, 1 + Math.floor(random.next() * 99) / 7, codec, tensorsOf(counts, seed + i)),
      );
      const contributions = await writeMembers(dir, members);
      const shuffled = permutation(members.length, random).map((i) => contributions[i]!);
      const sum = await sumDeltas(shuffled, output, { threadsMax });
      const bytes = await readFile(output);
      return sum.bytes === bytes.length && bytes.equals(await plainBytes(contributions));
    }),
    { seed: 11, numRuns: 15 },
  );
  t.pass();
});

test("a tensor of several stripes is summed by several threads to the same bytes", async (t) => {
  const dir = await temporaryFolder(t);
  const counts = [3, (1 << 21) + 77];
  const members = codecNames.map((codec, i) => member(codec, i + 1, codec, tensorsOf(counts, i)));
  const contributions = await writeMembers(dir, members);
  const expected = await plainBytes(contributions);
  for (const threadsMax of [1, 3]) {
    const output = join(dir, `sum-${threadsMax}`);
    await sumDeltas(contributions, output, { threadsMax });
    t.true((await readFile(output)).equals(expected));
  }
});

test("the weighted mean of 1 (n = 1) and 3 (n = 2) is 7/3", async (t) => {
  const dir = await temporaryFolder(t);
  const one = (value: number): TensorMap =>
    new Map([["x", { shape: [1, 1], data: Float32Array.of(value) }]]);
  const members = [member("a", 1, "f32", one(1)), member("b", 2, "f32", one(3))];
  const sum = await sumDeltas(await writeMembers(dir, members), join(dir, "sum"));
  const { tensors } = await readDelta(join(dir, "sum"));
  t.is(Math.fround(tensors.get("x")!.data[0]! / sum.weight), Math.fround(7 / 3));
  t.deepEqual(sum.contributors, ["a", "b"]);
  t.deepEqual([...sum.layout], [["x", [1, 1]]]);
});

test("a factor scales a delta but isn't part of the weight", async (t) => {
  const dir = await temporaryFolder(t);
  const tensors = tensorsOf([100], 3);
  const [half, whole] = await writeMembers(dir, [
    member("half", 2, "f32", tensors),
    member("whole", 1, "f32", tensors),
  ]);
  const sum = await sumDeltas([{ ...half!, factor: 0.25 }, whole!], join(dir, "sum"));
  t.is(sum.weight, 3);
  const { data } = (await readDelta(join(dir, "sum"))).tensors.get("t0")!;
  t.deepEqual(
    data,
    tensors.get("t0")!.data.map((value) => 1.5 * value),
  );
});

test("a NaN in one delta stays visible in the sum", async (t) => {
  const dir = await temporaryFolder(t);
  for (const codec of codecNames) {
    const tensors = tensorsOf([200], 5);
    tensors.get("t0")!.data[130] = Number.NaN;
    const members = [member("a", 1, codec, tensors), member("b", 1, "f32", tensorsOf([200], 6))];
    await sumDeltas(await writeMembers(dir, members), join(dir, "sum"));
    const { data } = (await readDelta(join(dir, "sum"))).tensors.get("t0")!;
    t.true(Number.isNaN(data[130]), codec);
    t.false(Number.isNaN(data[0]), codec);
  }
});

test("what can't be summed is refused by name and leaves no file", async (t) => {
  const dir = await temporaryFolder(t);
  const output = join(dir, "sum");
  const members = [
    member("a", 1, "f32", tensorsOf([5], 1)),
    member("b", 2, "int8", tensorsOf([6], 1)),
  ];
  const [a, b] = await writeMembers(dir, members);
  const torn = join(dir, "torn");
  await writeFile(torn, (await readFile(a!.path)).subarray(0, 70));
  const cases: [RegExp, Parameters<typeof sumDeltas>[0]][] = [
    [/^nothing to sum$/, []],
    [/^a contributes twice$/, [a!, a!]],
    [/^a has the weight -1$/, [{ ...a!, weight: -1 }]],
    [/^b: tensor t0 is 6 instead of 5$/, [a!, b!]],
    [/^c: not a delta file/, [a!, { name: "c", weight: 1, path: torn }]],
  ];
  for (const [message, contributions] of cases) {
    await t.throwsAsync(sumDeltas(contributions, output), { message });
    t.false(existsSync(output));
  }
});
