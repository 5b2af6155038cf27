// How sure a difference has to be, and how often it is wrong though it is looked at all the time.
import test from "ava";
import { deviationsOf, isSurelyHigher, varianceOf } from "../../../coordinator/rollout/evidence.ts";
import { seededRandom } from "../../../sync/formats/seeded-random.ts";

test("a difference needs 3.3 standard errors around the usual samples, and more elsewhere", (t) => {
  t.is(deviationsOf(30, 30).toFixed(2), "3.35");
  t.is(deviationsOf(300, 30).toFixed(2), "3.54");
  t.is(deviationsOf(10, 30).toFixed(2), "3.48");
  for (let count = 1; count <= 30; count += 1) {
    t.true(deviationsOf(count, 30) >= deviationsOf(30, 30) - 0.01);
    // Beyond, the bound on the mean itself still narrows.
    const widthAt = (many: number) => deviationsOf(many, 30) / Math.sqrt(many);
    t.true(widthAt(30 * count) < widthAt(30 * count - 1));
  }
});

test("a rate is surely higher only with evidence, and never against itself", (t) => {
  const none = { hits: 0, count: 0 };
  t.true(isSurelyHigher({ hits: 15, count: 30 }, none, 30));
  t.true(isSurelyHigher({ hits: 10, count: 50 }, { hits: 1, count: 100 }, 30));
  t.false(isSurelyHigher({ hits: 3, count: 30 }, { hits: 1, count: 100 }, 30));
  for (const hits of [0, 1, 15, 30]) {
    t.false(isSurelyHigher({ hits, count: 30 }, { hits, count: 30 }, 30));
  }
});

test("rates that are equal are told apart in less than 1 of 100 rollouts, at every look", (t) => {
  let alarms = 0;
  const trials = 1000;
  for (let trial = 0; trial < trials; trial += 1) {
    const random = seededRandom(100 + trial);
    const before = { hits: 0, count: 200 };
    for (let i = 0; i < before.count; i += 1) if (random.next() < 0.1) before.hits += 1;
    const now = { hits: 0, count: 0 };
    let isAlarmed = false;
    while (now.count < 300 && !isAlarmed) {
      now.count += 1;
      if (random.next() < 0.1) now.hits += 1;
      isAlarmed = now.count >= 30 && isSurelyHigher(now, before, 30);
    }
    if (isAlarmed) alarms += 1;
  }
  t.true(alarms <= trials / 100, `${alarms} of ${trials}`);
});

test("a variance is that of the sample; sums without squares count as widely spread", (t) => {
  const of = (...values: number[]) => ({
    sum: values.reduce((sum, one) => sum + one, 0),
    squareSum: values.reduce((sum, one) => sum + one ** 2, 0),
    count: values.length,
  });
  t.is(varianceOf(of(1, 2, 3, 4, 5)), 2.5);
  t.is(varianceOf(of(7, 7, 7)), 0);
  t.is(varianceOf({ sum: 300, squareSum: 0, count: 3 }), 100 ** 2);
  t.is(varianceOf(of(9)), 9 ** 2);
  t.is(varianceOf({ sum: 0, squareSum: 0, count: 0 }), 0);
});
