// What callers said of completions: one word each, and each version's ratings counted once.
import test from "ava";
import { ManualClock } from "../../support/manual-clock.ts";
import { DAY_MS, exampleOf, folderFor, openStore } from "./store-fixture.ts";

const rated = (id: string, rating: number | null, version = "m@1") =>
  ({ id, model: "m", version, lesson: "", rating }) as const;

test("ratings add up by version; a second rating of a completion replaces its first", (t) => {
  const dir = folderFor(t);
  const first = openStore(dir);
  first.ledger.put(rated("a", 1), null);
  first.ledger.put(rated("b", -0.5), null);
  first.ledger.put(rated("c", 1, "m@2"), null);
  first.ledger.put(rated("a", -1), null);
  first.close();
  const { ledger, close } = openStore(dir);
  const byVersion = ledger.ratings().toSorted((x, y) => (x.version < y.version ? -1 : 1));
  t.deepEqual(byVersion, [
    { model: "m", version: "m@1", sum: -1.5, count: 2 },
    { model: "m", version: "m@2", sum: 1, count: 1 },
  ]);
  t.is(ledger.get("a")?.rating, -1);
  close();
});

test("a lesson and a rating given one after the other are both kept", (t) => {
  const { ledger, store, close } = openStore(folderFor(t));
  ledger.put(rated("a", 0.5), null);
  const example = { ...exampleOf(1), id: "a" };
  const lesson = { ...rated("a", null), lesson: "correction" } as const;
  t.like(ledger.put(lesson, example), { rating: 0.5, lesson: "correction" });
  t.like(ledger.put(rated("a", 1), null), { rating: 1, lesson: "correction" });
  t.is(store.entries, 1);
  t.like(ledger.ratings()[0], { sum: 1, count: 1 });
  t.true(ledger.remove("a"));
  t.is(store.entries, 0);
  t.like(ledger.ratings()[0], { sum: 1, count: 1 }, "the version was rated all the same");
  close();
});

test("feedback leaves by age and by number, the versions stay rated", (t) => {
  const clock = new ManualClock();
  const bounds = { ageMaxMs: DAY_MS, entriesMax: 3 };
  const { ledger, close } = openStore(folderFor(t), clock, bounds);
  for (const id of ["a", "b", "c", "d"]) ledger.put(rated(id, 1), null);
  t.is(ledger.get("a"), undefined);
  t.truthy(ledger.get("b"));
  clock.advance(DAY_MS + 1);
  ledger.prune();
  t.is(ledger.get("d"), undefined);
  t.like(ledger.ratings()[0], { count: 4 });
  close();
});
