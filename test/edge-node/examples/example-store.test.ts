// What an edge keeps to learn from: within its bounds, split for good, and gone when deleted.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { statSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import fc from "fast-check";
import { isHeldOut } from "../../../edge-node/examples/evaluation-split.ts";
import { eventually } from "../../support/eventually.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { bytesIn, DAY_MS, exampleOf, examplesOf, folderFor, openStore } from "./store-fixture.ts";

test("a fixed part is kept for evaluation: it never trains, whatever comes and goes", (t) => {
  const dir = folderFor(t);
  const { store, close } = openStore(dir);
  store.put(examplesOf(400));
  const training = store.read("m", "training");
  const evaluation = store.read("m", "evaluation");
  t.is(training.length + evaluation.length, 400);
  t.true(evaluation.length > 50 && evaluation.length < 110);
  t.true(evaluation.every(isHeldOut) && !training.some(isHeldOut));
  // Another answer to a prompt that proves is on the proving side too.
  const [proof] = evaluation;
  store.put([{ ...exampleOf(1), id: "again", prompt: proof!.prompt, completion: "another" }]);
  t.is(store.read("m", "training").length, training.length);
  t.is(store.read("m", "evaluation").length, evaluation.length + 1);
  t.deepEqual(store.read("other", "training"), []);
  close();
});

test("what was put is there for the next process; the same again is no news", (t) => {
  const dir = folderFor(t);
  const before = openStore(dir);
  t.is(before.store.put(examplesOf(10)), 10);
  t.is(before.store.put(examplesOf(12)), 2);
  before.close();
  const after = openStore(dir);
  t.is(after.store.entries, 12);
  t.is(after.store.put([{ ...exampleOf(3), completion: "better" }]), 1);
  t.is(after.store.entries, 12);
  const texts = [...after.store.read("m", "training"), ...after.store.read("m", "evaluation")];
  t.true(texts.some(({ completion }) => completion === "better"));
  t.false(texts.some(({ completion }) => completion === "completion number 3"));
  after.close();
});

test("too many, too large, too old: the oldest go, and never more than that", (t) => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 30 }),
      fc.integer({ min: 100, max: 1200 }),
      fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 6 }),
      (entriesMax, bytesMax, batches) => {
        const { store, close } = openStore(folderFor(t), new ManualClock(), {
          entriesMax,
          bytesMax,
        });
        let n = 0;
        for (const size of batches) {
          store.put(Array.from({ length: size }, () => exampleOf(n++)));
          t.true(store.entries <= entriesMax && store.bytes <= bytesMax);
        }
        const kept = store.list({ limit: 1000 }).map(({ id }) => id);
        t.deepEqual(
          kept,
          kept.map((_, at) => `id-${n - 1 - at}`),
          "the newest are kept",
        );
        const next = exampleOf(n - 1 - kept.length);
        const room = bytesMax - store.bytes;
        const size = next.prompt.length + next.completion.length;
        t.true(kept.length === n || kept.length === entriesMax || size > room, "and no fewer");
        close();
      },
    ),
    { numRuns: 25, seed: 7 },
  );
  const clock = new ManualClock();
  const { store, close } = openStore(folderFor(t), clock, { ageMaxMs: DAY_MS });
  store.put([exampleOf(1)]);
  clock.advance(DAY_MS / 2);
  store.put([exampleOf(2)]);
  clock.advance(DAY_MS / 2 + 1);
  t.is(store.prune(), 1);
  t.deepEqual(
    store.list({ limit: 9 }).map(({ id }) => id),
    ["id-2"],
  );
  close();
});

test("what is deleted is nowhere in the files any more, and they are the owner's alone", (t) => {
  const dir = folderFor(t);
  const { store, ledger, close } = openStore(dir);
  store.put(examplesOf(20));
  const said = { id: "c", model: "m", version: "m@1", lesson: "correction", rating: null } as const;
  ledger.put(said, { ...exampleOf(99), id: "c", completion: "what should have been" });
  t.true(bytesIn(dir).includes("completion number 7"));
  t.true(bytesIn(dir).includes("what should have been"));
  t.true(store.remove("id-7"));
  t.true(ledger.remove("c"));
  t.false(store.remove("id-7"));
  t.false(ledger.remove("c"));
  t.false(bytesIn(dir).includes("completion number 7"));
  t.false(bytesIn(dir).includes("what should have been"));
  t.true(bytesIn(dir).includes("completion number 8"));
  t.is(statSync(dir).mode & 0o777, 0o700);
  close();
});

test("a list tells what there is, newest first, and no text", (t) => {
  const { store, close } = openStore(folderFor(t));
  store.put(examplesOf(5));
  store.put([exampleOf(9, "other")]);
  const first = store.list({ limit: 3 });
  t.deepEqual(
    first.map(({ id }) => id),
    ["id-9", "id-4", "id-3"],
  );
  const rest = store.list({ limit: 9, before: "id-3" });
  t.deepEqual(
    rest.map(({ id }) => id),
    ["id-2", "id-1", "id-0"],
  );
  t.is(store.list({ limit: 9, model: "other" }).length, 1);
  t.notRegex(JSON.stringify(first), /number/);
  close();
});

test("learned are those that were there when the round began", (t) => {
  const { store, close } = openStore(folderFor(t));
  store.put(examplesOf(20));
  t.is(store.learnedMark("m"), "");
  const { newest } = store;
  const late = Array.from({ length: 20 }, (_, n) => exampleOf(100 + n));
  store.put(late);
  store.put([{ ...exampleOf(0), completion: "put right while it trained" }]);
  store.markLearned("m", newest);
  t.not(store.learnedMark("m"), "");
  const learned = store.read("m", "training", "learned");
  const expected = examplesOf(20).filter((example, n) => n > 0 && !isHeldOut(example));
  t.deepEqual(
    learned.map(({ prompt }) => prompt),
    expected.map(({ prompt }) => prompt),
  );
  close();
});

test("kill -9 at any moment loses nothing that was acknowledged, and tears nothing", async (t) => {
  const dir = folderFor(t);
  const acknowledged = new Set<number>();
  for (let life = 0; life < 4; life++) {
    const script = join(import.meta.dirname, "store-writer.ts");
    const child = spawn(process.execPath, [script, dir, String(life * 100_000)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let told = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      told += text;
    });
    const wanted = 20 + 17 * life;
    await eventually("it has put some", () => told.split("\n").length > wanted);
    child.kill("SIGKILL");
    await once(child, "close");
    // The last line may be cut off: then nobody was told.
    for (const line of told.split("\n").slice(0, -1)) acknowledged.add(Number(line));
  }
  const { store, ledger, close } = openStore(dir, new ManualClock(), { entriesMax: 1e6 });
  const ids = new Set(store.list({ limit: 1e6 }).map(({ id }) => id));
  for (const n of acknowledged) {
    t.true(ids.has(`id-${n}`), `example ${n}`);
    t.is(ledger.get(`id-${n}`)?.lesson, "correction", `feedback ${n}`);
  }
  // Both or neither: at most one more a life was under way.
  const [rated] = ledger.ratings();
  t.is(rated?.count, ids.size);
  t.true(ids.size >= acknowledged.size && ids.size <= acknowledged.size + 4 * 50);
  close();
});
