// What is kept of the edges' counts.
import { create } from "@bufbuild/protobuf";
import test from "ava";
import { HealthLedger } from "../../../coordinator/rollout/health-ledger.ts";
import { VersionHealthSchema } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";

const told = (version: string, requests: number, sinceMs = 1) => {
  const counts = { requests: BigInt(requests), sinceMs: BigInt(sinceMs) };
  return create(VersionHealthSchema, { model: "m", version, ...counts });
};

test("what is told again counts once, and what grows counts as it is", (t) => {
  const ledger = new HealthLedger();
  for (const requests of [5, 5, 9]) ledger.hear("us/a", [told("m@1", requests)]);
  ledger.hear("us/b", [told("m@1", 2), told("m@2", 3)]);
  t.is(ledger.total("m@1").requests, 11);
  t.is(ledger.requestsOf("us/a", "m@1"), 9);
  const rows = ledger.rows("m@2", "m@1").map(({ edge, candidate, incumbent }) => {
    return [edge, candidate.requests, incumbent.requests];
  });
  t.deepEqual(rows, [
    ["us/a", 0, 9],
    ["us/b", 3, 2],
  ]);
});

test("an edge that counts from zero again adds to what it told before", (t) => {
  const ledger = new HealthLedger();
  ledger.hear("us/a", [told("m@2", 7, 1)]);
  ledger.hear("us/a", [told("m@2", 2, 5)]);
  t.is(ledger.total("m@2").requests, 9);
  ledger.hear("us/a", [told("m@2", 3, 5)]);
  t.is(ledger.total("m@2").requests, 10);
  ledger.hear("us/a", []);
  t.is(ledger.total("m@2").requests, 10, "an edge that has no room to tell takes nothing back");
});

test("counts of an earlier trial say nothing of the next one", (t) => {
  const ledger = new HealthLedger();
  ledger.hear("us/a", [told("m@2", 7, 1)]);
  ledger.begin("m@2");
  ledger.hear("us/a", [told("m@2", 7, 1)]);
  t.is(ledger.total("m@2").requests, 0);
  ledger.hear("us/a", [told("m@2", 4, 9)]);
  t.is(ledger.total("m@2").requests, 4);
});

test("numbers that make no sense count for nothing", (t) => {
  const ledger = new HealthLedger();
  const wrong = { ...told("m@2", 4), errors: 9n, ttftMsSum: Number.NaN, feedbackSum: Infinity };
  ledger.hear("us/a", [wrong]);
  t.like(ledger.total("m@2"), { requests: 4, errors: 4, ttftMsSum: 0, feedbackSum: 0 });
});
