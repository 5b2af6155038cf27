// What each region has still to be told of, through restarts, absences and too much at once.
import test from "ava";
import { SessionDebts } from "../../../region/session/session-debts.ts";

function paidUp(): SessionDebts {
  const debts = new SessionDebts();
  debts.seen("eu", 1n, 100);
  debts.oweThese("eu", []);
  return debts;
}

test("a region that was never seen, or has started anew, is owed everything", (t) => {
  const debts = new SessionDebts();
  debts.seen("eu", 1n, 100);
  t.true(debts.owesAll("eu"));
  debts.oweThese("eu", ["a", "b"]);
  t.false(debts.owesAll("eu"));
  t.deepEqual(debts.some("eu", 1), ["a"]);
  for (const key of ["a", "b"]) debts.paid("eu", key);
  t.false(debts.owesAny("eu"));
  debts.seen("eu", 1n, 200);
  t.false(debts.owesAny("eu"));
  debts.seen("eu", 2n, 300);
  t.true(debts.owesAll("eu"));
});

test("what comes up while everything is owed is not forgotten with it", (t) => {
  const debts = new SessionDebts();
  debts.owe("eu", "late");
  debts.oweThese("eu", ["listed"]);
  t.deepEqual(debts.some("eu", 9), ["late", "listed"]);
});

test("an absence keeps what is owed, and is known by when the region came back", (t) => {
  const debts = paidUp();
  t.is(debts.inReachSinceMs("eu"), 100);
  debts.owe("eu", "a");
  debts.seen("eu", null, 200);
  t.is(debts.inReachSinceMs("eu"), null);
  debts.seen("eu", 1n, 300);
  t.is(debts.inReachSinceMs("eu"), 300);
  t.deepEqual(debts.some("eu", 9), ["a"]);
});

test("beyond the bound a region is owed all rather than something forgotten", (t) => {
  const debts = paidUp();
  for (let key = 0; key <= 20_000; key += 1) debts.owe("eu", `${key}`);
  t.true(debts.owesAll("eu"));
});
