// How far token distributions are from each other: known answers, laws, and what the threshold
// tells apart with a real vocabulary.
import { join } from "node:path";
import test from "ava";
import fc from "fast-check";
import {
  makeDialectHeldOut,
  makeHomeHeldOut,
  makeHomeReplay,
  makePrivateExamples,
} from "../../../deploy/demo-model/datasets.ts";
import { DIALECT_NAMES } from "../../../deploy/demo-model/dialect-grammar.ts";
import { DRIFT_THRESHOLD, divergenceOf } from "../../../edge-node/drift/divergence.ts";
import { TokenWindow } from "../../../edge-node/drift/token-window.ts";
import { openVocabulary } from "./vocabulary.ts";

const countsOf = (counts: Record<number, number>) =>
  new Map(Object.entries(counts).map(([id, count]) => [Number(id), count]));

test("known answers: the same is 0, nothing in common is 1, half in common is 0.3113 bits", (t) => {
  t.is(divergenceOf(countsOf({ 1: 3, 2: 1 }), countsOf({ 1: 300, 2: 100 })), 0);
  t.is(divergenceOf(countsOf({ 1: 5 }), countsOf({ 2: 7 })), 1);
  // H(3/4, 1/4) - (H(1/2, 1/2) + H(1)) / 2 = 0.811278 - 0.5
  const half = divergenceOf(countsOf({ 1: 1, 2: 1 }), countsOf({ 1: 1 }));
  t.true(Math.abs(half - 0.3112781) < 1e-6, String(half));
});

test("it is symmetric, from 0 to 1, and no two different distributions are 0 apart", (t) => {
  const counts = fc
    .dictionary(fc.integer({ min: 0, max: 40 }).map(String), fc.integer({ min: 1, max: 50 }), {
      minKeys: 1,
    })
    .map(countsOf);
  fc.assert(
    fc.property(counts, counts, (left, right) => {
      const there = divergenceOf(left, right);
      t.true(there >= 0 && there <= 1);
      t.true(Math.abs(there - divergenceOf(right, left)) < 1e-12);
      if (![...left.keys()].some((id) => right.has(id))) t.true(there > 1 - 1e-12);
    }),
    { seed: 11 },
  );
});

test("a window counts its last texts and forgets the ones before", (t) => {
  const window = new TokenWindow(2);
  window.add([1, 1, 2]);
  window.add([3]);
  window.add([1]);
  t.is(window.size, 2);
  t.deepEqual([...window.counts].sort(), [
    [1, 1],
    [3, 1],
  ]);
});

test("64 prompts of an edge's own domain are below the threshold, others above", async (t) => {
  const vocabulary = await openVocabulary(
    join(import.meta.dirname, "../../../deploy/demo-model/commands-q8_0.gguf"),
  );
  t.teardown(() => vocabulary.dispose());
  const domains = [
    ...DIALECT_NAMES.map((name) => ({
      name: name as string,
      trained: makePrivateExamples(name, 0, 300),
      recent: makeDialectHeldOut(name, 64),
    })),
    { name: "home", trained: makeHomeReplay(1000), recent: makeHomeHeldOut(64) },
  ].map(({ name, trained, recent }) => ({
    name,
    trained: vocabulary.countsOf(trained.map(({ prompt }) => prompt)),
    recent: vocabulary.countsOf(recent.map(({ prompt }) => prompt)),
  }));
  for (const own of domains) {
    for (const other of domains) {
      const score = divergenceOf(other.recent, own.trained);
      const isBeyond = score > DRIFT_THRESHOLD;
      t.is(isBeyond, own !== other, `${other.name} against ${own.name}: ${score.toFixed(3)}`);
    }
  }
});
