// Noise, its strength, and the clip that follows the norms.
import test from "ava";
import { Fault } from "../../../proto/fault.ts";
import { seededBytes } from "../../../runtime/random.ts";
import type { TensorMap } from "../../../sync/delta/tensor-map.ts";
import { clipNorm, normOf } from "../../../sync/delta/tensor-map.ts";
import {
  CLIP_START,
  deltaMultiplier,
  nextClip,
  noisedShare,
} from "../../../sync/privacy/adaptive-clip.ts";
import { gaussian } from "../../../sync/privacy/gaussian.ts";
import { addNoise, noiseDeviation } from "../../../sync/privacy/noise.ts";

const seeded = (first: number) => gaussian(seededBytes(Buffer.alloc(32, first)));

function tensorsOf(count: number, value: number): TensorMap {
  return new Map([["w", { shape: [count], data: new Float32Array(count).fill(value) }]]);
}

test("normal variates have the moments and the tails of a normal distribution", (t) => {
  const next = seeded(1);
  const count = 200_000;
  const moments = [0, 0, 0, 0];
  let beyond2 = 0;
  for (let i = 0; i < count; i++) {
    const value = next();
    for (let k = 0; k < 4; k++) moments[k]! += value ** (k + 1) / count;
    if (Math.abs(value) > 2) beyond2 += 1 / count;
  }
  // Five deviations of each estimate's own error.
  const error = 5 / Math.sqrt(count);
  t.true(Math.abs(moments[0]!) < error, `mean ${moments[0]}`);
  t.true(Math.abs(moments[1]! - 1) < Math.SQRT2 * error, `variance ${moments[1]}`);
  t.true(Math.abs(moments[2]!) < Math.sqrt(15) * error, `third moment ${moments[2]}`);
  t.true(Math.abs(moments[3]! - 3) < Math.sqrt(96) * error, `fourth moment ${moments[3]}`);
  t.true(Math.abs(beyond2 - 0.0455003) < 0.21 * error, `beyond 2σ ${beyond2}`);
});

test("noise on a mean of n has the deviation z·C/n", (t) => {
  const strength = { clip: 3, multiplier: 2, contributors: 4 };
  t.is(noiseDeviation(strength), 1.5);
  const count = 100_000;
  const noised = addNoise(tensorsOf(count, 7), strength, seeded(2)).get("w")!.data;
  const mean = noised.reduce((sum, value) => sum + value, 0) / count;
  const variance = noised.reduce((sum, value) => sum + (value - mean) ** 2, 0) / count;
  t.true(Math.abs(mean - 7) < (5 * 1.5) / Math.sqrt(count), `mean ${mean}`);
  t.true(Math.abs(Math.sqrt(variance) - 1.5) < 0.02, `deviation ${Math.sqrt(variance)}`);
});

test("the same seed gives the same noise, another one another", (t) => {
  const strength = { clip: 1, multiplier: 1, contributors: 1 };
  const [one, again, other] = [5, 5, 6].map((seed) => {
    return addNoise(tensorsOf(64, 0), strength, seeded(seed)).get("w")!.data;
  });
  t.deepEqual(one, again);
  t.notDeepEqual(one, other);
});

test("a noised number shows nothing below the grid that its deviation sets", (t) => {
  const strength = { clip: 1, multiplier: 1, contributors: 1 };
  const noised = addNoise(tensorsOf(1000, 1e-7), strength, seeded(3)).get("w")!.data;
  const grid = 2 ** -20;
  t.true(noised.every((value) => Number.isInteger(value / grid)));
});

test("a clipped delta keeps its direction and is no longer than the clip", (t) => {
  const long = tensorsOf(100, 1);
  const clipped = clipNorm(long, 2.5);
  t.true(normOf(clipped) <= 2.5);
  t.true(normOf(clipped) > 2.4999);
  const first = clipped.get("w")!.data[0];
  t.true(clipped.get("w")!.data.every((value) => value === first));
  t.is(clipNorm(long, 10.1), long);
});

test("noise of no strength is refused", (t) => {
  const strength = { clip: 1, multiplier: 1, contributors: 1 };
  for (const key of ["clip", "multiplier", "contributors"] as const) {
    t.throws(() => noiseDeviation({ ...strength, [key]: 0 }), { instanceOf: Fault });
    t.throws(() => noiseDeviation({ ...strength, [key]: Number.NaN }), { instanceOf: Fault });
  }
});

test("z 1 over 100 contributors leaves z 1.0050378 for the deltas", (t) => {
  t.true(Math.abs(deltaMultiplier(1, 100) - 1.0050378) < 5e-8);
  t.throws(() => deltaMultiplier(1, 10), { instanceOf: Fault, message: /too few/ });
});

test("the clip shrinks when more than half needed none, and grows when fewer did", (t) => {
  t.is(CLIP_START, 0.1);
  t.is(nextClip(0.1, 0.5), 0.1);
  t.is(nextClip(0.1, 1), 0.1 * Math.exp(-0.1));
  t.is(nextClip(0.1, 0), 0.1 * Math.exp(0.1));
  t.is(nextClip(1, 0.5, { quantile: 0.9, rate: 1 }), Math.exp(0.4));
});

test("the clip comes to the median of the norms though its count is noised", (t) => {
  const norms = Array.from({ length: 100 }, (_, i) => (i + 1) / 20);
  const noise = seeded(4);
  let clip = CLIP_START;
  const late: number[] = [];
  for (let round = 0; round < 400; round++) {
    const unclipped = norms.filter((norm) => norm <= clip).length;
    clip = nextClip(clip, noisedShare(unclipped, norms.length, noise));
    if (round >= 300) late.push(clip);
  }
  const mean = late.reduce((sum, value) => sum + value, 0) / late.length;
  t.true(Math.abs(mean - 2.5) < 0.15, `clip ${mean}`);
});
