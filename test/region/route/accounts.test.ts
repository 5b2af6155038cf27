// The two accounts that correct an edge's own report: what was sent since, and how it went.
import test from "ava";
import { DispatchLedger } from "../../../region/route/dispatch-ledger.ts";
import { FailurePenalty } from "../../../region/route/failure-penalty.ts";

test("only what was sent or ended since the report corrects it", (t) => {
  const ledger = new DispatchLedger();
  const done = ledger.begin("a", "m");
  ledger.begin("a", "m");
  t.is(ledger.unreported("a", "m"), 2);
  ledger.reported("a");
  t.is(ledger.unreported("a", "m"), 0);
  done();
  done();
  t.is(ledger.unreported("a", "m"), -1);
  ledger.begin("a", "m");
  t.is(ledger.unreported("a", "m"), 0);
  t.is(ledger.unreported("a", "other"), 0);
  ledger.forget("a");
  t.is(ledger.unreported("a", "m"), 0);
});

test("failures add up to a bound and fade; success halves them; a caller's add none", (t) => {
  const penalty = new FailurePenalty();
  penalty.failed("a", "invalid-argument", 0);
  t.is(penalty.of("a", 0), 0);
  penalty.failed("a", "engine-crashed", 0);
  const once = penalty.of("a", 0);
  penalty.failed("a", "engine-crashed", 0);
  t.is(penalty.of("a", 0), 2 * once);
  t.is(penalty.of("a", 5000), once);
  penalty.succeeded("a", 0);
  t.is(penalty.of("a", 0), once);
  for (let k = 0; k < 100; k += 1) penalty.failed("a", "link-lost", 0);
  t.is(penalty.of("a", 0), 30_000);
  t.is(penalty.of("a", 10 * 60_000), 0);
});
