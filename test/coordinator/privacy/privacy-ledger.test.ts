// The ledger of ε: durable, counted once, and a no beyond the budget.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { NoiseSeeds } from "../../../coordinator/privacy/noise-seeds.ts";
import { PrivacyLedger } from "../../../coordinator/privacy/privacy-ledger.ts";
import { RecordStore } from "../../../coordinator/records/record-store.ts";
import {
  type PrivacyPlan,
  privacyPlanSchema,
} from "../../../coordinator/rounds/plan/privacy-plan.ts";
import { Fault } from "../../../proto/fault.ts";
import { seededBytes } from "../../../runtime/random.ts";
import { privacyLoss } from "../../../sync/privacy/rdp-accountant.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const z4: PrivacyPlan = privacyPlanSchema.parse({ noise: { clip: 1, multiplier: 4 } });
const bare: PrivacyPlan = privacyPlanSchema.parse({});
const roundOf = (round: number, model = "demo") => ({ model, campaign: "demo-1", round });
const epsilonOf = (rounds: number) => {
  return privacyLoss([{ multiplier: 4, samplingRate: 1, rounds }], 1e-5).epsilon;
};

function setUp(t: ExecutionContext, made: string[] = []) {
  const dir = mkdtempSync(join(tmpdir(), "isthmus-ledger-"));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const path = join(dir, "records.log");
  const clock = new ManualClock();
  const open = () => {
    const records = new RecordStore(path);
    const ledger = new PrivacyLedger({ records, clock, roundsOf: () => made });
    return { records, ledger };
  };
  return { dir, open };
}

test("each round adds to ε, and counts once however often it is told", (t) => {
  const { ledger } = setUp(t).open();
  t.is(ledger.account("demo").spent, 0);
  for (const round of [1, 2, 2, 1, 3]) t.is(ledger.reserve(roundOf(round), z4), null);
  const { spent, charges } = ledger.account("demo");
  t.is(charges.length, 3);
  t.is(spent, epsilonOf(3));
});

test("a round that would go beyond the budget is refused, with both figures", (t) => {
  const { ledger } = setUp(t).open();
  ledger.setBudget("demo", { epsilon: epsilonOf(2) + 0.01, delta: 1e-5 });
  t.is(ledger.reserve(roundOf(1), z4), null);
  t.is(ledger.reserve(roundOf(2), z4), null);
  const refusal = ledger.reserve(roundOf(3), z4);
  t.regex(refusal ?? "", /would bring it to ε 1\.8\d+ at δ 0\.00001, beyond its budget of 1\.4/);
  t.is(ledger.account("demo").charges.length, 2);
  // A round that was charged may still be told again.
  t.is(ledger.reserve(roundOf(2), z4), null);
});

test("a budget that is just met is met", (t) => {
  const { ledger } = setUp(t).open();
  ledger.setBudget("demo", { epsilon: epsilonOf(1), delta: 1e-5 });
  t.is(ledger.reserve(roundOf(1), z4), null);
  t.not(ledger.reserve(roundOf(2), z4), null);
});

test("a new process knows what the one before has spent", (t) => {
  const world = setUp(t);
  const first = world.open();
  first.ledger.setBudget("demo", { epsilon: epsilonOf(1), delta: 1e-5 });
  first.ledger.reserve(roundOf(1), z4);
  first.records.close();
  const { ledger } = world.open();
  t.is(ledger.account("demo").spent, epsilonOf(1));
  t.not(ledger.refusal("demo", z4), null);
});

test("a round that came to nothing gives its charge back; one that was made keeps it", (t) => {
  const { ledger } = setUp(t).open();
  for (const round of [1, 2]) ledger.reserve(roundOf(round), z4);
  ledger.settle(roundOf(1), "released");
  ledger.settle(roundOf(2), "spent");
  t.is(ledger.account("demo").spent, epsilonOf(1));
  // The first word counts.
  ledger.settle(roundOf(2), "released");
  ledger.settle(roundOf(9), "released");
  t.is(ledger.account("demo").spent, epsilonOf(1));
});

test("a promise may be tightened, never loosened", (t) => {
  const { ledger } = setUp(t).open();
  ledger.setBudget("demo", { epsilon: 5, delta: 1e-5 });
  ledger.setBudget("demo", { epsilon: 3, delta: 1e-5 });
  for (const loose of [
    { epsilon: 4, delta: 1e-5 },
    { epsilon: null, delta: 1e-5 },
    { epsilon: 3, delta: 1e-6 },
  ]) {
    t.throws(() => ledger.setBudget("demo", loose), { instanceOf: Fault, code: "conflict" });
  }
  t.is(ledger.account("demo").epsilon, 3);
});

test("a campaign's budget is taken over, and the tighter of two counts", (t) => {
  const { ledger } = setUp(t).open();
  ledger.adopt("demo", { ...z4, epsilonBudget: 8, delta: 1e-6 });
  ledger.adopt("demo", { ...z4, epsilonBudget: 9 });
  t.like(ledger.account("demo"), { epsilon: 8, delta: 1e-6 });
  ledger.adopt("demo", { ...z4, epsilonBudget: 2 });
  t.is(ledger.account("demo").epsilon, 2);
  ledger.adopt("other", bare);
  t.like(ledger.account("other"), { epsilon: null, delta: 1e-5 });
});

test("a model with a budget takes no round without noise, and none after such a round", (t) => {
  const made: string[] = [];
  const { ledger } = setUp(t, made).open();
  t.is(ledger.reserve(roundOf(1), bare), null);
  ledger.setBudget("demo", { epsilon: 100, delta: 1e-5 });
  t.regex(ledger.reserve(roundOf(1), bare) ?? "", /without noise has no bound/);
  made.push("demo-0/1");
  t.regex(ledger.reserve(roundOf(1), z4) ?? "", /1 rounds of demo went without noise/);
  t.like(ledger.account("demo"), { spent: null, unnoisedRounds: 1 });
});

test("models whose names begin alike have ledgers of their own", (t) => {
  const { ledger } = setUp(t).open();
  ledger.reserve(roundOf(1, "demo"), z4);
  ledger.reserve(roundOf(1, "demo.large"), z4);
  ledger.reserve(roundOf(2, "demo.large"), z4);
  t.is(ledger.account("demo").charges.length, 1);
  t.is(ledger.account("demo.large").charges.length, 2);
});

test("a round's seed of noise stays the same until the round is over", (t) => {
  const { dir } = setUp(t);
  const open = (first: number) => {
    return new NoiseSeeds(join(dir, "noise"), seededBytes(Buffer.alloc(32, first)));
  };
  const seed = open(1).of("demo-1", 4);
  t.deepEqual(open(2).of("demo-1", 4), seed);
  t.notDeepEqual(open(2).of("demo-1", 5), seed);
  open(3).forgetOthers("demo-1", 4);
  t.deepEqual(open(4).of("demo-1", 4), seed);
  open(3).forgetOthers("demo-1", null);
  t.notDeepEqual(open(5).of("demo-1", 4), seed);
});
