// Which source is asked next.
import test from "ava";
import fc from "fast-check";
import { type PullOutcome, PullPlan } from "../../../sync/artifact/pull-plan.ts";

const failed: PullOutcome = { kind: "failed", reason: "no" };

test("sources take turns, with a pause after each turn that doubles", (t) => {
  const plan = new PullPlan(["a", "b"]);
  t.deepEqual(plan.first(), { kind: "ask", source: "a", afterMs: 0 });
  t.deepEqual(plan.next(failed), { kind: "ask", source: "b", afterMs: 0 });
  t.deepEqual(plan.next(failed), { kind: "ask", source: "a", afterMs: 100 });
  t.deepEqual(plan.next(failed), { kind: "ask", source: "b", afterMs: 0 });
  t.deepEqual(plan.next(failed), { kind: "ask", source: "a", afterMs: 200 });
});

test("progress keeps to the source and forgives what failed before", (t) => {
  const plan = new PullPlan(["a", "b"]);
  plan.first();
  plan.next(failed);
  t.deepEqual(plan.next({ kind: "progress" }), { kind: "ask", source: "b", afterMs: 0 });
  for (let i = 0; i < 9; i += 1) t.is(plan.next(failed).kind, "ask");
  t.deepEqual(plan.next(failed), { kind: "give-up", reason: "no" });
});

test("a source whose bytes are wrong is never asked again", (t) => {
  const plan = new PullPlan(["a", "b"]);
  plan.first();
  t.like(plan.next({ kind: "corrupt", reason: "wrong" }), { kind: "ask", source: "b" });
  t.deepEqual(plan.next({ kind: "corrupt", reason: "wrong too" }), {
    kind: "give-up",
    reason: "wrong too",
  });
});

test("without a source it gives up at once", (t) => {
  t.deepEqual(new PullPlan([]).first(), { kind: "give-up", reason: "no source is known" });
});

test("every plan ends, however long the answers are 'busy' or 'failed'", (t) => {
  const outcome = fc.constantFrom<PullOutcome>(failed, { kind: "busy", retryAfterMs: 9e9 });
  const law = fc.property(
    fc.array(outcome, { minLength: 1 }),
    fc.nat({ max: 4 }),
    (cycle, count) => {
      const plan = new PullPlan(Array.from({ length: count }, (_, i) => `s${i}`));
      let step = plan.first();
      for (let i = 0; step.kind === "ask"; i += 1) {
        if (i > 20_000 || step.afterMs > 5_000) return false;
        step = plan.next(cycle[i % cycle.length]!);
      }
      return true;
    },
  );
  t.notThrows(() => fc.assert(law, { seed: 3, numRuns: 50 }));
});
