// Who is taken out for faults or lateness, for how long, and how it comes back.
import test from "ava";
import { FAULTS_MAX, HOLD_MS } from "../../../region/route/track-record.ts";
import { RoutingFixture } from "./routing-fixture.ts";

const four = { a: {}, b: {}, c: {}, d: {} };

function failOften(mesh: RoutingFixture, edge: string): void {
  for (let k = 0; k < FAULTS_MAX; k += 1) mesh.fail(edge);
}

test("faults in a row take an edge out; one answer between them keeps it in", (t) => {
  const mesh = new RoutingFixture(four);
  mesh.fail("a");
  mesh.fail("a");
  t.is(mesh.rejection("a"), null);
  mesh.answer("a", 10);
  mesh.fail("a");
  mesh.fail("a");
  t.is(mesh.rejection("a"), null);
  mesh.fail("a");
  t.is(mesh.rejection("a"), "ejected");
  const told = mesh.assessment("a");
  t.regex(
    told.kind === "rejected" ? told.reason : "",
    /3 faults in a row, the last engine-crashed/,
  );
});

test("faults that are the caller's, or say that it is full, eject nobody", (t) => {
  const mesh = new RoutingFixture(four);
  for (let k = 0; k < 20; k += 1) {
    mesh.send("a").ended(0, { kind: "fault", code: "overloaded" });
    mesh.send("b").ended(0, { kind: "fault", code: "invalid-argument" });
    mesh.send("c").ended(0, { kind: "cancelled" });
  }
  for (const edge of ["a", "b", "c"]) t.is(mesh.rejection(edge), null);
  t.true(mesh.terms("a").penaltyMs > 1000, "full counts all the same");
  t.is(mesh.terms("b").penaltyMs, 0);
});

test("after its hold-down it gets one request, and that decides", (t) => {
  const mesh = new RoutingFixture({ a: {}, b: { rttMs: 30_000 } });
  failOften(mesh, "a");
  mesh.nowMs = HOLD_MS - 1;
  t.is(mesh.rejection("a"), "ejected");
  mesh.nowMs = HOLD_MS;
  t.is(mesh.chosen()?.edge, "a");
  const probe = mesh.send("a");
  t.is(mesh.rejection("a"), "ejected", "one at a time");
  t.is(mesh.chosen()?.edge, "b");
  probe.ended(mesh.nowMs, { kind: "cancelled" });
  t.is(mesh.rejection("a"), null, "that told nothing");
  mesh.answer("a", 10);
  t.is(mesh.rejection("a"), null);
  mesh.fail("a");
  t.is(mesh.rejection("a"), null, "it is as any other again");
});

test("each failed trial doubles the hold-down, up to a bound; long good conduct clears it", (t) => {
  const mesh = new RoutingFixture(four);
  failOften(mesh, "a");
  let holdMs = HOLD_MS;
  for (let k = 0; k < 8; k += 1) {
    mesh.nowMs += holdMs - 1;
    t.is(mesh.rejection("a"), "ejected");
    mesh.nowMs += 1;
    t.is(mesh.rejection("a"), null, `on trial after ${holdMs}`);
    mesh.fail("a");
    holdMs = Math.min(2 * holdMs, 60_000);
  }
  mesh.nowMs += holdMs;
  t.is(mesh.rejection("a"), null);
  mesh.answer("a", 10);
  mesh.nowMs += 10 * 60_000;
  failOften(mesh, "a");
  mesh.nowMs += HOLD_MS;
  t.is(mesh.rejection("a"), null);
});

test("what was sent before an ejection and fails after it lengthens nothing", (t) => {
  const mesh = new RoutingFixture(four);
  const handles = Array.from({ length: 8 }, () => mesh.send("a"));
  for (const handle of handles) handle.ended(0, { kind: "fault", code: "link-lost" });
  mesh.nowMs = HOLD_MS;
  t.is(mesh.rejection("a"), null);
});

test("never more than half of those that could serve are out, also when others go", (t) => {
  const mesh = new RoutingFixture(four);
  for (const edge of Object.keys(four)) failOften(mesh, edge);
  let edges = Object.keys(four);
  const out = () => edges.filter((edge) => mesh.rejection(edge) === "ejected");
  t.deepEqual(out(), ["a", "b"]);
  mesh.table.setStatus("c", "dead", "");
  t.deepEqual(out(), ["b"]);
  mesh.table.setStatus("d", "dead", "");
  t.deepEqual(out(), ["b"]);
  mesh.table.remove("a");
  edges = ["b"];
  t.deepEqual(out(), [], "the last one is better than none");
});

test("where nothing else may take a request, an ejected edge is tried", (t) => {
  const mesh = new RoutingFixture({ a: {}, b: { model: { version: "m@2" } } });
  failOften(mesh, "a");
  t.is(mesh.chosen()?.edge, "b");
  t.is(mesh.chosen({ version: "m@1" })?.edge, "a");
});

test("an edge far later than predicted is out if its peers aren't; if all are, none is", (t) => {
  const mesh = new RoutingFixture(four);
  for (let k = 0; k < 8; k += 1) {
    t.is(mesh.rejection("a"), null);
    for (const edge of ["b", "c", "d"]) mesh.answer(edge, 120);
    mesh.answer("a", 2000);
  }
  t.is(mesh.rejection("a"), "ejected");
  mesh.nowMs += HOLD_MS;
  t.is(mesh.rejection("a"), null);
  mesh.answer("a", 2000);
  t.is(mesh.rejection("a"), "ejected", "on trial it was late again");
  const slow = new RoutingFixture(four);
  for (let k = 0; k < 10; k += 1) {
    for (const edge of Object.keys(four)) {
      slow.answer(edge, 2000);
      t.is(slow.rejection(edge), null);
    }
  }
});

test("an edge that comes back as another process has a clean record", (t) => {
  const mesh = new RoutingFixture(four);
  failOften(mesh, "a");
  mesh.add("a", { heartbeat: { incarnation: 2n } });
  t.is(mesh.rejection("a"), null);
  t.is(mesh.terms("a").penaltyMs, 0);
});
