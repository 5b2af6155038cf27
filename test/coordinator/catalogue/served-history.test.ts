// Which version a rollback returns to.
import test from "ava";
import fc from "fast-check";
import type { ModelRecord } from "../../../coordinator/catalogue/model-record.ts";
import {
  desiredRevision,
  HISTORY_MAX,
  rollbackTarget,
  withServed,
} from "../../../coordinator/catalogue/served-history.ts";

const empty: ModelRecord = {
  ...{ model: "m", versions: 9, served: null, trial: null, changes: 0, history: [] },
  ...{ replay: null, heldout: null, master: null },
};
const rollBack = (record: ModelRecord) => {
  const target = rollbackTarget(record);
  return target === undefined ? record : withServed(record, target, "rollback", 0);
};

test("rolling back walks back through what was served, and stops at the first", (t) => {
  let record = ["m@1", "m@2", "m@3"].reduce((r, v) => withServed(r, v, "rollout", 0), empty);
  const walked: (string | null)[] = [];
  for (let i = 0; i < 4; i += 1) {
    walked.push(record.served);
    record = rollBack(record);
  }
  t.deepEqual(walked, ["m@3", "m@2", "m@1", "m@1"]);
  t.is(rollbackTarget(empty), undefined);
});

test("a rollout after a rollback can be undone by the next rollback", (t) => {
  const steps = ["m@1", "m@2", "m@3"].reduce((r, v) => withServed(r, v, "rollout", 0), empty);
  const record = withServed(rollBack(steps), "m@5", "rollout", 0);
  t.is(rollbackTarget(record), "m@2");
});

test("serving what is served already is no change", (t) => {
  const record = withServed(empty, "m@1", "publish", 0);
  t.is(withServed(record, "m@1", "rollout", 0), record);
});

test("a rollback returns to what a stack of rollouts says, and revisions only grow", (t) => {
  const action = fc.oneof(
    fc.integer({ min: 1, max: 5 }).map((n) => `m@${n}`),
    fc.constant("back"),
  );
  const law = fc.property(fc.array(action, { maxLength: HISTORY_MAX - 1 }), (actions) => {
    const stack: string[] = [];
    let record = empty;
    for (const one of actions) {
      const before = desiredRevision([record]);
      if (one !== "back") {
        if (stack.at(-1) !== one) stack.push(one);
        record = withServed(record, one, "rollout", 0);
      } else if (stack.length > 1) {
        stack.pop();
        record = rollBack(record);
      } else if (rollbackTarget(record) !== undefined) return false;
      if (record.served !== (stack.at(-1) ?? null)) return false;
      if (desiredRevision([record]) < before) return false;
    }
    return true;
  });
  t.notThrows(() => fc.assert(law, { seed: 6, numRuns: 500 }));
});

test("history is bounded, and the revision still grows", (t) => {
  let record = empty;
  for (let i = 0; i < 3 * HISTORY_MAX; i += 1) record = withServed(record, `m@${i}`, "rollout", i);
  t.is(record.history.length, HISTORY_MAX);
  t.is(desiredRevision([record]), BigInt(3 * HISTORY_MAX));
});
