// A short slice of `npm run chaos`: whatever is struck, no stream is cut, doubled or wrong. How
// fast it goes on is measured by the long run, not here.
import test from "ava";
import { runChaos } from "./chaos-run.ts";

test("streams stay whole while edges die, engines crash and links fall silent", async (t) => {
  t.timeout(240_000);
  const report = await runChaos({
    seconds: 12,
    seed: 3,
    kinds: ["edge-kill", "engine-kill", "link-black-hole"],
    regions: ["us", "eu"],
    edges: 1,
    say: (line) => t.log(line),
  });
  t.deepEqual(report.failed, {}, "every request that was begun is completed");
  t.is(report.complete, report.acknowledged);
  t.true(report.complete > 0);
  t.deepEqual([report.lost, report.doubled], [0, 0]);
  t.deepEqual(report.broken, []);
  t.is(report.audit.wrong, 0, "each token is the argmax, up to near-ties");
  t.is(report.audit.truncated, 0);
  t.deepEqual([report.crashes, report.problems], [[], []]);
  t.true(report.faults.length > 0);
  t.log(`${report.complete} streams, ${report.moved} moved, ${report.retries} tried again`);
});
