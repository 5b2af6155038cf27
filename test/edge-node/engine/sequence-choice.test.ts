// Which sequence a job gets.
import test from "ava";
import { COPY_GAIN_MIN, chooseSequence } from "../../../edge-node/engine/sequence-choice.ts";

const prompt = Array.from({ length: 100 }, (_, at) => at);
const view = (length: number, busy: boolean, lastUse: number) => ({
  tokens: prompt.slice(0, length),
  promptTokens: length,
  busy,
  lastUse,
});

test("the free sequence that knows most of the prompt is taken", (t) => {
  const choice = chooseSequence([view(10, false, 1), view(50, false, 2)], prompt);
  t.deepEqual(choice, { target: 1, source: null, shared: 50 });
});

test("among equals the one that was used longest ago is taken", (t) => {
  const choice = chooseSequence([view(0, false, 5), view(0, false, 3), view(0, true, 1)], prompt);
  t.deepEqual(choice, { target: 1, source: null, shared: 0 });
});

test("a job goes beside the busy sequences", (t) => {
  const sequences = [view(0, false, 1), view(0, false, 2), view(0, false, 4), view(0, true, 3)];
  t.is(chooseSequence(sequences, prompt)?.target, 2);
});

test("a job fills the gap between two busy sequences", (t) => {
  const sequences = [view(0, false, 1), view(0, true, 3), view(0, false, 4), view(0, true, 5)];
  t.is(chooseSequence(sequences, prompt)?.target, 2);
});

test("what a far sequence knows is copied beside the busy one", (t) => {
  const sequences = [view(60, false, 1), view(0, false, 2), view(0, true, 3), view(0, false, 4)];
  t.deepEqual(chooseSequence(sequences, prompt), { target: 1, source: 0, shared: 60 });
});

test("a busy sequence that knows much more is copied", (t) => {
  const choice = chooseSequence([view(90, true, 9), view(8, false, 2), view(0, false, 1)], prompt);
  t.deepEqual(choice, { target: 1, source: 0, shared: 90 });
});

test("a copy that gains little is not worth it", (t) => {
  const gain = COPY_GAIN_MIN - 1;
  const choice = chooseSequence([view(8 + gain, true, 9), view(8, false, 2)], prompt);
  t.deepEqual(choice, { target: 1, source: null, shared: 8 });
});

/** A sequence that shares only its head with the prompt; `answer` tokens follow its own prompt. */
const other = (shared: number, rest: number, lastUse: number, answer = 0) => ({
  tokens: [...prompt.slice(0, shared), ...Array(rest + answer).fill(-1)],
  promptTokens: shared + rest,
  busy: false,
  lastUse,
});

test("another prompt is spared though it begins alike: the longest unused makes room", (t) => {
  const choice = chooseSequence([other(5, 200, 2), other(0, 50, 1)], prompt);
  t.deepEqual(choice, { target: 1, source: null, shared: 0 });
  const alone = chooseSequence([other(5, 200, 2)], prompt);
  t.deepEqual(alone, { target: 0, source: null, shared: 5 });
});

test("a long common head is copied from the other prompt, which stays", (t) => {
  const choice = chooseSequence([other(60, 200, 2), view(0, false, 1)], prompt);
  t.deepEqual(choice, { target: 1, source: 0, shared: 60 });
});

test("the same prompt again takes its own sequence: an old answer isn't worth sparing", (t) => {
  const choice = chooseSequence([other(100, 0, 2, 500), view(0, false, 1)], prompt);
  t.deepEqual(choice, { target: 0, source: null, shared: 100 });
});

test("there is no choice when all are busy", (t) => {
  t.is(chooseSequence([view(100, true, 1)], prompt), null);
});
