// The accountant against published answers and against integrals of the definition.
import test from "ava";
import fc from "fast-check";
import { Fault } from "../../../proto/fault.ts";
import { logErfc } from "../../../sync/privacy/log-numbers.ts";
import {
  type NoisedRounds,
  privacyLoss,
  renyiDivergence,
} from "../../../sync/privacy/rdp-accountant.ts";

const known: NoisedRounds = { multiplier: 2.5, samplingRate: 0.01, rounds: 50 };

function isNear(found: number, expected: number, relative: number): boolean {
  return Math.abs(found - expected) <= relative * Math.abs(expected);
}

/** E over z ~ N(0, σ²) of ((1−q) + q·e^((2z−1)/2σ²))^α by the trapezoid rule: the definition. */
function integrate({ multiplier: s, samplingRate: q, rounds }: NoisedRounds, order: number) {
  const step = 2 ** -8;
  let excess = 0;
  for (let z = -40; z <= 120; z += step) {
    const density = Math.exp((-z * z) / (2 * s * s)) / (s * Math.sqrt(2 * Math.PI));
    const ratio = q * Math.expm1((2 * z - 1) / (2 * s * s));
    // Minus 1 under the integral, where no digits are lost.
    excess += density * Math.expm1(order * Math.log1p(ratio)) * step;
  }
  return (rounds * Math.log1p(excess)) / (order - 1);
}

test("2250 rounds at σ 1.5 and q 0.04 cost ε 7.32911117 at δ 1e-5", (t) => {
  const rounds = { multiplier: 1.5, samplingRate: 0.04, rounds: 2250 };
  const { epsilon, order } = privacyLoss([rounds], 1e-5);
  t.true(isNear(epsilon, 7.32911117, 1e-9), String(epsilon));
  t.is(order, 3.9);
});

test("the divergences of σ 2.5, q 0.01, 50 rounds are the known ones", (t) => {
  const answers = [
    [1.5, 6.70579741e-4],
    [2.5, 1.0854871e-3],
    [5, 2.18075656e-3],
    [50, 2.38460375e-2],
    [100, 167.416308],
  ] as const;
  for (const [order, expected] of answers) {
    // The known ones of broken orders are the bound by absolute values.
    const found = renyiDivergence(known, order, "bound");
    t.true(isNear(found, expected, 5e-9), `order ${order}: ${found}`);
  }
});

test("at orders between whole ones the divergence that is charged is the exact one", (t) => {
  // Below the sums of absolute terms above by 3 % and 0.006 %: terms of those change sign.
  for (const [order, expected] of [
    [1.5, 6.500709e-4],
    [2.5, 1.085418e-3],
  ] as const) {
    const found = renyiDivergence(known, order);
    t.true(isNear(found, expected, 5e-7), `order ${order}: ${found}`);
    t.true(isNear(integrate(known, order), expected, 5e-7), "and so says the definition");
  }
});

test("the exact series equal the integral of the definition, and stay below their bound", (t) => {
  for (const order of [1.5, 2.5, 3.9, 5, 7.3, 12]) {
    const found = renyiDivergence(known, order);
    t.true(isNear(found, integrate(known, order), 1e-8), `order ${order}: ${found}`);
    t.true(found <= renyiDivergence(known, order, "bound"));
  }
});

test("sampling everybody is the plain Gaussian: α/2σ² each round", (t) => {
  const everybody = { multiplier: 2, samplingRate: 1, rounds: 3 };
  t.is(renyiDivergence(everybody, 4), (3 * 4) / (2 * 4));
  const almost = { ...everybody, samplingRate: 1 - 1e-9 };
  t.true(isNear(renyiDivergence(almost, 4), renyiDivergence(everybody, 4), 1e-6));
});

test("rounds without noise cost everything, no rounds cost nothing", (t) => {
  t.is(privacyLoss([{ multiplier: 0, samplingRate: 1, rounds: 1 }], 1e-5).epsilon, Infinity);
  t.is(privacyLoss([], 1e-5).epsilon, 0);
  t.is(privacyLoss([{ multiplier: 1, samplingRate: 0, rounds: 9 }], 1e-5).epsilon, 0);
});

test("more rounds cost more; more noise, fewer edges or a larger δ cost less", (t) => {
  const cost = (one: NoisedRounds, delta = 1e-5) => privacyLoss([one], delta).epsilon;
  const sizes = fc.record({
    multiplier: fc.double({ min: 0.5, max: 20, noNaN: true }),
    samplingRate: fc.double({ min: 0.001, max: 0.9, noNaN: true }),
    rounds: fc.integer({ min: 1, max: 5000 }),
  });
  const law = fc.property(sizes, (one) => {
    const here = cost(one);
    const slack = 1e-9 * here;
    return (
      cost({ ...one, rounds: one.rounds + 1 }) >= here - slack &&
      cost({ ...one, multiplier: one.multiplier * 1.1 }) <= here + slack &&
      cost({ ...one, samplingRate: one.samplingRate * 0.9 }) <= here + slack &&
      cost(one, 1e-4) <= here + slack
    );
  });
  fc.assert(law, { numRuns: 20, seed: 7 });
  t.pass();
});

test("numbers out of range are refused", (t) => {
  for (const bad of [
    { ...known, samplingRate: 1.1 },
    { ...known, samplingRate: Number.NaN },
    { ...known, multiplier: -1 },
    { ...known, rounds: -1 },
  ]) {
    t.throws(() => renyiDivergence(bad, 2), { instanceOf: Fault });
  }
  t.throws(() => renyiDivergence(known, 1), { instanceOf: Fault });
  t.throws(() => privacyLoss([known], 0), { instanceOf: Fault });
});

test("the logarithm of erfc is right on both sides of where its method changes", (t) => {
  const answers = [
    [-3, Math.log(1.9999779095030015)],
    [0, 0],
    [0.5, Math.log(0.4795001221869535)],
    [1.9999, Math.log(0.004679802092970608)],
    [2, Math.log(0.004677734981047266)],
    [3, Math.log(2.209049699858544e-5)],
    [10, Math.log(2.088487583762545e-45)],
    [20, Math.log(5.3958656116079005e-176)],
    [40, -1604.26155665327],
  ] as const;
  for (const [x, expected] of answers) {
    const tolerance = 2e-12 * Math.max(1, Math.abs(expected));
    t.true(Math.abs(logErfc(x) - expected) < tolerance, `erfc(${x}): ${logErfc(x)}`);
  }
});
