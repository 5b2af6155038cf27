// What recent failures add to the predictions of a place, and how that fades.
import test from "ava";
import { FailurePenalty } from "../../../region/route/failure-penalty.ts";

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
