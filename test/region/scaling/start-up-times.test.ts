// What a region expects of the time until an edge serves a model.
import test from "ava";
import { ModelStatus } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import { StartUpTimes, UNMEASURED_START_MS } from "../../../region/scaling/start-up-times.ts";

const { FETCHING, LOADING, READY } = ModelStatus;
const state = (status: ModelStatus, loadMs = 0) => ({ status, loadMs });

test("nothing measured: a guess; what was measured takes its place, the truest first", (t) => {
  const times = new StartUpTimes();
  t.deepEqual(times.estimate("m"), { ms: UNMEASURED_START_MS, from: "nothing" });
  times.seen("e1", "m", state(READY, 4000), 0);
  t.deepEqual(times.estimate("m"), { ms: 4000, from: "loads" });
  times.seen("e2", "m", state(FETCHING), 1000);
  times.seen("e2", "m", state(LOADING), 5000);
  times.seen("e2", "m", state(READY, 3000), 10_000);
  t.deepEqual(times.estimate("m"), { ms: 9000, from: "starts" });
  times.missed("m", 20_000);
  times.missed("m", 22_000);
  times.seen("e3", "m", state(READY, 3000), 45_000);
  t.deepEqual(times.estimate("m"), { ms: 25_000, from: "wakes" });
});

test("what is left shrinks while it is waited for, and is never nothing", (t) => {
  const times = new StartUpTimes();
  times.missed("m", 0);
  times.seen("e1", "m", state(READY), 20_000);
  times.missed("m", 100_000);
  t.is(times.remainingMs("m", 100_000), 20_000);
  t.is(times.remainingMs("m", 115_000), 5000);
  t.is(times.remainingMs("m", 200_000), 2000);
});

test("an edge on its way tells better than what a whole wake took", (t) => {
  const times = new StartUpTimes();
  times.seen("e1", "m", state(FETCHING), 0);
  times.missed("m", 0);
  times.seen("e1", "m", state(READY), 8000);
  times.missed("m", 100_000);
  times.seen("e2", "m", state(LOADING), 130_000);
  t.is(times.remainingMs("m", 132_000), 6000);
  times.keepOnly([]);
  t.is(times.remainingMs("m", 132_000), 800);
});

test("an edge that comes up long after nobody waited any more teaches nothing", (t) => {
  const times = new StartUpTimes();
  times.missed("m", 0);
  times.seen("e1", "m", state(READY, 500), 3_600_000);
  t.deepEqual(times.estimate("m"), { ms: 500, from: "loads" });
});
