// Whole simulated meshes under every fault, small enough for each run of the tests; and the seeds
// that once failed.
import test from "ava";
import { type AuditSeed, runAudit } from "./audit/audit-run.ts";
import { keptSeeds } from "./audit/seed-book.ts";
import { drawFaults, faultKinds } from "./faults/fault-plan.ts";
import { RandomStreams } from "./kernel/random-streams.ts";

const size = { edges: 12, regions: 3, seconds: 25, ratePerS: 10, found: "" } as const;
const sizeOf = (seed: number): AuditSeed => ({ ...size, seed });

for (const seed of [1, 2, 3, 4]) {
  test(`nothing is lost, doubled, misplaced or left over under faults: seed ${seed}`, async (t) => {
    const { mesh, records, faults } = await runAudit(sizeOf(seed));
    t.deepEqual(mesh.auditor.violations, []);
    t.true(records.length > 100);
    t.true(faults.length > 3);
  });
}

for (const seed of keptSeeds()) {
  test(`a seed that once failed (${seed.found}) is clean: ${JSON.stringify(seed)}`, async (t) => {
    const { mesh } = await runAudit(seed);
    t.deepEqual(mesh.auditor.violations, []);
  });
}

test("streams move under those faults", async (t) => {
  const { mesh, records } = await runAudit({ ...sizeOf(7), seconds: 40 });
  t.true(mesh.moves.size > 0);
  t.true(records.some(({ moves, fault }) => moves > 0 && fault === ""));
});

test("one seed gives one course, another seed another", async (t) => {
  const short = { ...size, seconds: 12 };
  const first = await runAudit({ ...short, seed: 5 });
  const again = await runAudit({ ...short, seed: 5 });
  const other = await runAudit({ ...short, seed: 6 });
  t.is(again.trace, first.trace);
  t.is(again.events, first.events);
  t.not(other.trace, first.trace);
});

test("faults of every kind are drawn, and all are over before the end", (t) => {
  const bounds = { edges: 10, regions: 4, fromMs: 1000, untilMs: 300_000 };
  const often = { edgeFaultEveryMs: 1000, regionFaultEveryMs: 1000 };
  const faults = drawFaults({ ...bounds, ...often }, new RandomStreams(1).of("faults"));
  const drawn = new Set(faults.map(({ kind }) => kind));
  t.deepEqual([...drawn].sort(), [...faultKinds].sort());
  t.true(faults.every(({ atMs, forMs }) => atMs >= 1000 && atMs + forMs <= 300_000));
  t.true(
    faults.every(({ side, target, kind }) => !kind.startsWith("part") || side.includes(target)),
  );
});
