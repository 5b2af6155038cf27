// How a step's prefill budget is shared.
import test from "ava";
import fc from "fast-check";
import {
  PREFILL_ALONE,
  PREFILL_BESIDE_STREAMS,
  prefillTurns,
} from "../../../edge-node/engine/prefill-turns.ts";

test("nobody reads more than it wants, all together no more than the budget", (t) => {
  const wanted = fc.array(fc.integer({ min: 1, max: 2000 }), { maxLength: 20 });
  fc.assert(
    fc.property(wanted, fc.nat(8), fc.nat(1000), (list, streams, turn) => {
      const turns = prefillTurns(list, streams, turn);
      const budget = streams > 0 ? PREFILL_BESIDE_STREAMS : PREFILL_ALONE;
      const sum = turns.reduce((total, tokens) => total + tokens, 0);
      const all = list.reduce((total, tokens) => total + tokens, 0);
      return turns.every((tokens, at) => tokens <= list[at]!) && sum === Math.min(all, budget);
    }),
    { seed: 21, numRuns: 2000 },
  );
  t.pass();
});

test("two long prompts read at the same pace", (t) => {
  t.deepEqual(prefillTurns([1000, 1000], 3, 0), [32, 32]);
});

test("what a short prompt leaves goes to a long one", (t) => {
  t.deepEqual(prefillTurns([10, 1000], 3, 0), [10, 54]);
});

test("when not all fit into a step, all get their turn", (t) => {
  const wanted = Array.from({ length: 10 }, () => 320);
  const read = wanted.map(() => 0);
  for (let turn = 0; turn < 10; turn++) {
    for (const [at, tokens] of prefillTurns(wanted, 1, turn).entries()) read[at]! += tokens;
  }
  t.deepEqual(new Set(read), new Set([64]));
});
