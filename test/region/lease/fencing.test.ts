// A process that lost its duties writes nothing that its successor reads, and acknowledges nothing.
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { Fault } from "../../../proto/fault.ts";
import { claimFolder, type FolderClaim } from "../../../region/lease/folder-claim.ts";
import { SingleDuty } from "../../../region/lease/single-duty.ts";
import { Tenure } from "../../../region/lease/tenure.ts";
import { EventLog } from "../../../region/round/event-log.ts";
import { silentLog } from "../../../runtime/log.ts";
import { ManualClock } from "../../support/manual-clock.ts";

function folder(t: ExecutionContext): string {
  const dir = mkdtempSync(join(tmpdir(), "isthmus-fencing-"));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

const tenureOf = (claim: FolderClaim, acts = () => true) =>
  new Tenure({ claim, acts, onOver: () => {} });

test("whoever claims a folder has it, and nobody before", (t) => {
  const dir = join(folder(t), "claims");
  const claims = ["a", "b", "a"].map((owner) => claimFolder(dir, owner));
  t.deepEqual(
    claims.map(({ number, isHeld }) => [number, isHeld()]),
    [
      [1, false],
      [2, false],
      [3, true],
    ],
  );
  t.deepEqual(readdirSync(dir), ["3"]);
});

test("a log goes on in a file of its own; what the former process adds is not in it", async (t) => {
  const dir = folder(t);
  const path = join(dir, "round.log");
  const claims = join(dir, "claims");
  const old = await EventLog.open(path, tenureOf(claimFolder(claims, "a")));
  await old.log.append([{ n: 1 }]);
  const next = tenureOf(claimFolder(claims, "b"));
  const taken = await EventLog.open(path, next);
  t.deepEqual(taken.records, [{ n: 1 }]);
  // Woken after its successor has read: too late to be read, and so to be acknowledged.
  await t.throwsAsync(old.log.append([{ n: "late" }]), { instanceOf: Fault });
  await taken.log.append([{ n: 2 }]);
  await Promise.all([old.log.close(), taken.log.close()]);
  const again = await EventLog.open(path, tenureOf(claimFolder(claims, "a")));
  t.deepEqual(again.records, [{ n: 1 }, { n: 2 }]);
  await again.log.close();
});

test("frozen between the write and the answer, it doesn't answer", async (t) => {
  const dir = folder(t);
  const path = join(dir, "round.log");
  const claims = join(dir, "claims");
  const claim = claimFolder(claims, "a");
  let looks = 0;
  // The second look is the one after the record is on disk: by then another has claimed and read.
  const isHeld = () => {
    looks += 1;
    if (looks === 2) claimFolder(claims, "b");
    return claim.isHeld();
  };
  const { log } = await EventLog.open(path, tenureOf({ ...claim, isHeld }));
  const fault = await t.throwsAsync(log.append([{ n: 1 }]), { instanceOf: Fault });
  t.like(fault, { code: "unavailable", retryAfterMs: 1000 });
  await log.close();
});

test("a process with an older claim can't open what a newer one writes", async (t) => {
  const dir = folder(t);
  const path = join(dir, "round.log");
  const claims = join(dir, "claims");
  const older = tenureOf(claimFolder(claims, "a"));
  const { log } = await EventLog.open(path, tenureOf(claimFolder(claims, "b")));
  await log.append([{ n: 1 }]);
  await t.throwsAsync(EventLog.open(path, older), { message: /another instance/ });
  await log.close();
});

test("duties begin with the lease, end with it, and never run twice at once", async (t) => {
  const dir = folder(t);
  let acts = false;
  let running = 0;
  let mostAtOnce = 0;
  const duty = new SingleDuty({
    acts: () => acts,
    claim: () => claimFolder(dir, "a"),
    start: async () => {
      running += 1;
      mostAtOnce = Math.max(mostAtOnce, running);
      return {
        stop: async () => {
          running -= 1;
        },
      };
    },
    clock: new ManualClock(),
    log: silentLog(),
  });
  await duty.follow();
  t.throws(() => duty.current, { instanceOf: Fault });
  acts = true;
  await Promise.all([duty.follow(), duty.follow()]);
  t.true(duty.isRunning);
  acts = false;
  t.false(duty.isRunning, "at once, before anything is stopped");
  await duty.follow();
  t.is(running, 0);
  acts = true;
  await duty.follow();
  t.is(running, 1);
  await duty.stop();
  t.deepEqual([running, mostAtOnce], [0, 1]);
});
