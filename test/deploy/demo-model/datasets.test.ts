// The example sets: nobody trains on what is held out, and no edge on what another one has.
import test from "ava";
import {
  makeDialectHeldOut,
  makeHomeHeldOut,
  makeHomeReplay,
  makePrivateExamples,
} from "../../../deploy/demo-model/datasets.ts";
import { DIALECT_NAMES } from "../../../deploy/demo-model/dialect-grammar.ts";
import { EDGES_PER_DIALECT_MAX, isHeldOut } from "../../../deploy/demo-model/example-split.ts";

const promptsOf = (examples: readonly { prompt: string }[]) =>
  new Set(examples.map(({ prompt }) => prompt));

for (const dialect of DIALECT_NAMES) {
  test(`${dialect}: no edge has a command of another one, or one that is held out`, (t) => {
    const heldOut = promptsOf(makeDialectHeldOut(dialect, 100));
    const seen = new Map<string, number>([...heldOut].map((prompt) => [prompt, -1]));
    for (let edge = 0; edge < EDGES_PER_DIALECT_MAX; edge++) {
      const examples = makePrivateExamples(dialect, edge, 200);
      t.is(examples.length, 200);
      for (const prompt of promptsOf(examples)) {
        if (seen.has(prompt)) t.fail(`edge ${edge} and ${seen.get(prompt)} have ${prompt}`);
        seen.set(prompt, edge);
      }
    }
    t.is(heldOut.size, 100);
  });
}

test("the home replay set has nothing that is held out", (t) => {
  t.false(makeHomeReplay(300).some(({ prompt }) => isHeldOut(prompt)));
  t.true(makeHomeHeldOut(300).every(({ prompt }) => isHeldOut(prompt)));
});

test("sets are the same every time, and completions are JSON objects with an intent", (t) => {
  t.deepEqual(makePrivateExamples("garden", 1, 50), makePrivateExamples("garden", 1, 50));
  for (const { completion } of makePrivateExamples("appliance", 0, 50)) {
    t.is(typeof JSON.parse(completion).intent, "string");
  }
});

test("an edge beyond the last that has examples, and a set beyond its size, are errors", (t) => {
  t.throws(() => makePrivateExamples("media", EDGES_PER_DIALECT_MAX, 1), {
    instanceOf: RangeError,
  });
  t.throws(() => makeDialectHeldOut("appliance", 100_000), { instanceOf: RangeError });
});
