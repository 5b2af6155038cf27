// The known answers for LoRA: what averaging factors gets wrong, what stacking gets right, and what
// truncation keeps.
import test from "ava";
import fc from "fast-check";
import {
  averageFactors,
  denseUpdate,
  type LoraUpdate,
  stackRanks,
} from "../../../sync/aggregate/lora-aggregation.ts";
import { frobeniusNorm, fromRows, matrix, scaled, sum } from "../../../sync/aggregate/matrix.ts";
import { truncateRank } from "../../../sync/aggregate/rank-truncation.ts";

// biome-ignore format: matrices read best as rows
const updates: readonly LoraUpdate[] = [
  { share: 0.25, scale: 1, b: fromRows([[1, 0], [0, 1], [1, 1]]),
    a: fromRows([[1, 2, 0, 1], [0, 1, 1, 0]]) },
  { share: 0.75, scale: 1, b: fromRows([[0, 1], [2, 0], [1, -1]]),
    a: fromRows([[2, 0, 1, 1], [1, 1, 0, 2]]) },
];
// biome-ignore format: matrices read best as rows
const exact = fromRows([[1, 1.25, 0, 1.75], [3, 0.25, 1.75, 1.5], [1, 0, 1, -0.5]]);
const singularValues = [4.26719, 1.94279, 0.51636];

test("stacking the ranks gives the exact mean of the updates", (t) => {
  const stacked = stackRanks(updates);
  t.is(stacked.a.rows, 4);
  t.deepEqual([...denseUpdate(stacked).data], [...exact.data]);
});

test("stacking folds in each update's scale and rank", (t) => {
  const [first, second] = updates as [LoraUpdate, LoraUpdate];
  const thin = { ...second, b: matrix(3, 1, [1, 2, 3]), a: matrix(1, 4, [1, 0, 0, 1]), scale: 2 };
  const stacked = stackRanks([{ ...first, scale: 0.5 }, thin]);
  t.is(stacked.a.rows, 3);
  const expected = sum(scaled(denseUpdate(first), 0.125), scaled(denseUpdate(thin), 1.5));
  t.true(frobeniusNorm(sum(denseUpdate(stacked), scaled(expected, -1))) < 1e-12);
});

test("averaging the factors is off by a known residual", (t) => {
  const averaged = denseUpdate(averageFactors(updates));
  t.deepEqual([...averaged.data.slice(0, 4)], [1, 0.875, 0.375, 1.375]);
  const residual = frobeniusNorm(sum(averaged, scaled(exact, -1)));
  t.true(Math.abs(residual - 1.5232572) < 5e-8, String(residual));
});

test("factors of different ranks or weights are refused", (t) => {
  const [first] = updates as [LoraUpdate];
  const thin = { ...first, b: matrix(3, 1), a: matrix(1, 4) };
  t.throws(() => averageFactors([first, thin]), { message: /one rank and scale/ });
  t.throws(() => stackRanks([first, { ...first, a: matrix(2, 5) }]), { message: /one weight/ });
  t.throws(() => stackRanks([]), { message: /nothing to aggregate/ });
});

test("the product's singular values are the known ones", (t) => {
  const { singularValues: found } = truncateRank(stackRanks(updates), 2);
  t.is(found.length, 4);
  for (const [i, value] of singularValues.entries()) {
    t.true(Math.abs(found[i]! - value) < 5e-6, `${found[i]}`);
  }
  t.true(found[3]! < 1e-12);
});

test("truncation loses just the singular values that it drops", (t) => {
  const stacked = stackRanks(updates);
  for (const rank of [1, 2, 3, 4]) {
    const truncated = truncateRank(stacked, rank);
    t.is(truncated.a.rows, rank);
    const lost = frobeniusNorm(sum(denseUpdate(truncated), scaled(exact, -1)));
    const dropped = Math.hypot(...truncated.singularValues.slice(rank));
    t.true(Math.abs(lost - dropped) < 1e-9, `rank ${rank}: ${lost}, ${dropped}`);
  }
});

test("truncation to the full rank gives the product back, whatever the factors", (t) => {
  const numbers = (n: number) =>
    fc.array(fc.integer({ min: -8, max: 8 }), { minLength: n, maxLength: n });
  const factors = fc
    .tuple(fc.integer({ min: 1, max: 7 }), fc.integer({ min: 1, max: 6 }))
    .chain(([out, rank]) =>
      fc.tuple(numbers(out * rank), numbers(rank * 5), fc.constant([out, rank])),
    );
  fc.assert(
    fc.property(factors, ([b, a, [out, rank]]) => {
      const pair = { b: matrix(out!, rank!, b), a: matrix(rank!, 5, a) };
      const truncated = truncateRank(pair, rank!);
      const lost = frobeniusNorm(sum(denseUpdate(truncated), scaled(denseUpdate(pair), -1)));
      const ordered = truncated.singularValues.every(
        (value, i, all) => i === 0 || value <= all[i - 1]!,
      );
      return ordered && lost <= 1e-10 * (1 + frobeniusNorm(denseUpdate(pair)));
    }),
    { seed: 3, numRuns: 500 },
  );
  t.pass();
});
