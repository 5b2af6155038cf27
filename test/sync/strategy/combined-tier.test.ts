// What a region takes of its edges' deltas under each rule: liars are named and kept out or scaled
// down, honest edges stay, and rules that need more edges than there are fall back.
import test from "ava";
import { sumWeighted } from "../../../sync/aggregate/weighted-sum.ts";
import { normOf, type TensorMap } from "../../../sync/delta/tensor-map.ts";
import { type CombinedTier, combineTier } from "../../../sync/strategy/combined-tier.ts";
import { type CombineName, combineRules } from "../../../sync/strategy/tier-verdict.ts";
import { flipped, honest, start, TierFolder, tensorsOf, thousandfold } from "./tier-fixture.ts";

const rule = (combine: CombineName, change = {}) => ({
  ...{ combine, byzantine: 0, trimShare: 0.2, normBound: 0 },
  ...change,
});
const edgesOf = ({ parts }: CombinedTier) => parts.flatMap(({ edges }) => [...edges]).sort();
const names = (count: number) => Array.from({ length: count }, (_, i) => `e-${i}`);

/** Σ w·f·Δ / Σ w. */
async function meanOf({ parts }: CombinedTier): Promise<TensorMap> {
  const { values, layout } = await sumWeighted(
    parts.map(({ name, weight, factor, load }) => ({ name, weight: weight * factor, load })),
  );
  const total = parts.reduce((sum, { weight }) => sum + weight, 0);
  return new Map(
    [...values].map(([name, sum]) => {
      return [name, { shape: layout.get(name)!, data: Float32Array.from(sum, (v) => v / total) }];
    }),
  );
}

function distance(x: TensorMap, y: TensorMap): number {
  let squared = 0;
  for (const [name, { data }] of x) {
    data.forEach((value, i) => {
      squared += (value - y.get(name)!.data[i]!) ** 2;
    });
  }
  return Math.sqrt(squared);
}

test("robust keeps every honest edge, in tiers of one to seven", async (t) => {
  const folder = new TierFolder(t);
  for (const count of [1, 2, 3, 5, 7]) {
    const combined = await combineTier(folder.tier(count), rule("robust"), start);
    t.deepEqual(edgesOf(combined), names(count));
    t.deepEqual(combined.leftOut, []);
    t.true(combined.parts.every(({ factor }) => factor === 1));
  }
});

test("robust names who flips signs, even one of two", async (t) => {
  const folder = new TierFolder(t);
  for (const count of [2, 3, 6]) {
    const tier = folder.tier(count, { 1: flipped });
    const { parts, leftOut } = await combineTier(tier, rule("robust"), start);
    t.deepEqual(
      leftOut.map(({ edge }) => edge),
      ["e-1"],
    );
    t.regex(leftOut[0]!.reason, /^goes back where the others go on \(cosine with the start -0\./);
    t.is(parts.length, count - 1);
  }
});

test("robust names who contradicts a tier that agrees, whatever the start says", async (t) => {
  const folder = new TierFolder(t);
  const common = tensorsOf(7);
  const near = (seed: number): TensorMap => {
    const own = tensorsOf(seed, 0.3);
    return new Map(
      [...common].map(([name, { shape, data }]) => {
        return [name, { shape, data: data.map((v, i) => v + own.get(name)!.data[i]!) }];
      }),
    );
  };
  const tier = [11, 12, 13, 14, 15].map((seed, i) => {
    return folder.member(`e-${i}`, i === 4 ? flipped(near(seed)) : near(seed));
  });
  const { leftOut } = await combineTier(tier, rule("robust"), null);
  t.deepEqual(
    leftOut.map(({ edge }) => edge),
    ["e-4"],
  );
  t.regex(leftOut[0]!.reason, /^contradicts the others \(mean cosine -0\.9/);
});

test("a thousandfold delta is left out by name, in tiers of two or more", async (t) => {
  const folder = new TierFolder(t);
  for (const combine of ["robust", "norm-bound"] as const) {
    for (const count of [2, 6]) {
      const tier = folder.tier(count, { 0: thousandfold });
      const { leftOut, parts } = await combineTier(tier, rule(combine), start);
      t.deepEqual(
        leftOut.map(({ edge }) => edge),
        ["e-0"],
      );
      t.regex(leftOut[0]!.reason, /^its norm \S+ is far beyond the bound /);
      t.is(parts.length, count - 1);
    }
  }
});

test("a bound told from outside holds a lone edge, and scales down what is near it", async (t) => {
  const folder = new TierFolder(t);
  const [one] = folder.tier(1);
  const bound = { normBound: one!.norm / 2 };
  const { parts } = await combineTier([one!], rule("norm-bound", bound), start);
  t.true(Math.abs(parts[0]!.factor - 0.5) < 1e-12);
  const alone = folder.member("far", thousandfold(honest(1)));
  const { leftOut } = await combineTier([alone], rule("robust", bound), start);
  t.is(leftOut[0]!.edge, "far");
});

test("with one liar of seven every robust rule ends near the honest mean", async (t) => {
  const folder = new TierFolder(t);
  const clean = await meanOf(await combineTier(folder.tier(7).slice(0, 6), rule("mean"), start));
  const scale = normOf(clean);
  for (const lie of [flipped, thousandfold]) {
    const tier = folder.tier(7, { 6: lie });
    const plain = distance(await meanOf(await combineTier(tier, rule("mean"), start)), clean);
    for (const combine of combineRules.filter((name) => name !== "mean" && name !== "krum")) {
      const mean = await meanOf(await combineTier(tier, rule(combine), start));
      const off = distance(mean, clean) / scale;
      // Bulyan averages three of seven unlike deltas, so chance alone takes it that far.
      t.true(off < 1.2, `${combine} is off by ${off}`);
      if (combine === "robust") t.true(off < 1e-6);
      if (lie === thousandfold) t.true(off < plain / scale / 10);
    }
  }
});

test("Krum takes one edge, Multi-Krum all but the liars, and say whom they left", async (t) => {
  const folder = new TierFolder(t);
  const tier = folder.tier(7, { 3: thousandfold });
  const one = await combineTier(tier, rule("krum", { byzantine: 1 }), start);
  t.is(one.parts.length, 1);
  t.is(one.leftOut.length, 6);
  const many = await combineTier(tier, rule("multi-krum", { byzantine: 1 }), start);
  t.deepEqual(
    many.leftOut.map(({ edge, reason }) => `${edge} ${reason}`),
    ["e-3 not chosen by Multi-Krum with 1 liars"],
  );
});

test("rules that need more edges than there are fall back to the norm bound", async (t) => {
  const folder = new TierFolder(t);
  const tier = folder.tier(2, { 0: thousandfold });
  for (const combine of combineRules.filter((name) => name !== "mean")) {
    const { parts, leftOut } = await combineTier(tier, rule(combine), start);
    t.deepEqual([parts.length, leftOut.length], [1, 1], combine);
  }
});

test("edges of another rank are judged among themselves, under the same bound", async (t) => {
  const folder = new TierFolder(t);
  const narrow = folder.member("n-0", tensorsOf(40, 0.2, 2));
  const wild = folder.member("n-1", thousandfold(tensorsOf(41, 0.2, 2)));
  const { parts, leftOut } = await combineTier(
    [...folder.tier(3), narrow, wild],
    rule("robust"),
    start,
  );
  t.deepEqual(
    parts.map(({ name, rank }) => [name, rank]),
    [
      ["e-0", 4],
      ["e-1", 4],
      ["e-2", 4],
      ["n-0", 2],
    ],
  );
  t.deepEqual(
    leftOut.map(({ edge }) => edge),
    ["n-1"],
  );
});

test("the median of a tier weighs as much as all of it, in any order of edges", async (t) => {
  const folder = new TierFolder(t);
  const tier = folder.tier(5);
  const combined = await combineTier(tier, rule("median"), start);
  const [part] = combined.parts;
  t.deepEqual([combined.parts.length, part!.weight], [1, 50]);
  t.deepEqual(edgesOf(combined), names(5));
  const mixed = await combineTier([...tier].reverse(), rule("median"), start);
  t.deepEqual(await mixed.parts[0]!.load(), await part!.load());
});

test("whatever the codec, rules see the decoded numbers", async (t) => {
  const folder = new TierFolder(t);
  const tier = ["bf16", "int8", "f32"].map((codec, i) => {
    const delta = i === 1 ? flipped(honest(i)) : honest(i);
    const format = { codec: codec as "bf16", topShare: 0 };
    return folder.member(`e-${i}`, delta, 10, format);
  });
  const { leftOut } = await combineTier(tier, rule("robust"), start);
  t.deepEqual(
    leftOut.map(({ edge }) => edge),
    ["e-1"],
  );
});
