// How many edges a replay of requests asks for.
import test from "ava";
import { edgesNeeded } from "../../../region/scaling/queue-replay.ts";

const goal = {
  serviceMs: 2000,
  waitMaxMs: 500,
  missShareMax: 0.05,
  spansMs: [15_000, 60_000],
};

/** So many requests in each of the last seconds. */
function steady(perS: number, seconds: number) {
  const atMs = Array.from({ length: seconds }, (_, at) => (at + 1) * 1000);
  return { fromMs: 0, atMs, counts: atMs.map(() => perS) };
}

test("nobody asked: none", (t) => {
  t.is(edgesNeeded(steady(0, 60), goal, 4, 100), 0);
});

test("steady requests need as many slots as are in use at once", (t) => {
  // 8 a second for 2 s each: 16 slots.
  t.is(edgesNeeded(steady(8, 60), goal, 4, 100), 4);
  t.is(edgesNeeded(steady(8, 60), goal, 1, 100), 16);
  t.is(edgesNeeded(steady(9, 60), goal, 4, 100), 5);
});

test("a burst that queues absorb within the target asks for nothing more", (t) => {
  const calm = steady(1, 60);
  const burst = calm.counts.map((count, at) => (at === 40 ? 8 : count));
  t.is(edgesNeeded({ ...calm, counts: burst }, { ...goal, waitMaxMs: 5000 }, 4, 100), 1);
  t.is(edgesNeeded({ ...calm, counts: burst }, goal, 4, 100), 2);
});

test("more load never asks for fewer, and beyond the most allowed it asks for one more", (t) => {
  t.is(edgesNeeded(steady(1000, 60), goal, 4, 10), 11);
  let before = 0;
  for (let perS = 0; perS <= 40; perS += 1) {
    const edges = edgesNeeded(steady(perS, 60), goal, 4, 100);
    t.true(edges >= before, `${perS} a second`);
    before = edges;
  }
});

test("thousands of requests a second are replayed in groups, to nearly the same answer", (t) => {
  const edges = edgesNeeded(steady(2000, 60), goal, 8, 10_000);
  t.true(edges >= 495 && edges <= 510, `${edges}`);
});
