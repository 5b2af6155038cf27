// What the coordinator makes of the regions' summaries.
import { create } from "@bufbuild/protobuf";
import test from "ava";
import { Fleet, REGION_SILENT_MS } from "../../../coordinator/rollout/fleet.ts";
import { awaitRollout, rolloutProgress } from "../../../coordinator/rollout/rollout-progress.ts";
import {
  type EdgeSummary,
  EdgeSummarySchema,
  ModelStatus,
  RegionSummarySchema,
} from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const edgeOf = (
  edge: string,
  version: string,
  state: ModelStatus = ModelStatus.READY,
  status = "ready",
): EdgeSummary => {
  const models = [{ model: "m", version, status: state, reason: "no room" }];
  return create(EdgeSummarySchema, { edge, status, models });
};

const summary = (region: string, sequence: number, edges: EdgeSummary[], incarnation = 1) =>
  create(RegionSummarySchema, {
    ...{ region, edges, sequence: BigInt(sequence), incarnation: BigInt(incarnation) },
  });

test("every living edge is in exactly one list; the dead and the draining are in none", (t) => {
  const fleet = new Fleet(new ManualClock());
  const statuses = ["ready", "suspect", "dead", "draining", "leaving"];
  const states = [ModelStatus.READY, ModelStatus.FETCHING, ModelStatus.LOADING, ModelStatus.FAILED];
  const edges = statuses.flatMap((status) =>
    states.map((state) => edgeOf(`${status}-${state}`, "m@2", state, status)),
  );
  fleet.hear(summary("us", 1, [...edges, edgeOf("old", "m@1")]));
  const { serving, waiting, failed } = rolloutProgress("m", "m@2", fleet.edges());
  const { READY, FETCHING, LOADING, FAILED } = ModelStatus;
  t.deepEqual(serving, [`us/ready-${READY}`, `us/suspect-${READY}`]);
  t.deepEqual([...waiting].sort(), [
    "us/old",
    ...["ready", "suspect"].flatMap((s) => [`us/${s}-${FETCHING}`, `us/${s}-${LOADING}`]),
  ]);
  t.deepEqual(failed, [
    { edge: `us/ready-${FAILED}`, reason: "no room" },
    { edge: `us/suspect-${FAILED}`, reason: "no room" },
  ]);
});

test("an older summary never replaces a newer one, a newer incarnation always does", (t) => {
  const fleet = new Fleet(new ManualClock());
  fleet.hear(summary("us", 5, [edgeOf("a", "m@2")], 2));
  fleet.hear(summary("us", 4, [], 2));
  fleet.hear(summary("us", 9, [], 1));
  t.is(fleet.edges().length, 1);
  fleet.hear(summary("us", 1, [], 3));
  t.is(fleet.edges().length, 0);
});

test("a silent region's edges count as out of reach", (t) => {
  const clock = new ManualClock();
  const fleet = new Fleet(clock);
  fleet.hear(summary("us", 1, [edgeOf("a", "m@2")]));
  clock.advance(REGION_SILENT_MS - 1);
  t.is(fleet.readyEdges("m").length, 1);
  clock.advance(1);
  t.is(fleet.readyEdges("m").length, 0);
  t.false(fleet.regions()[0]!.reachable);
});

test("a rollout is waited for until the last edge serves, or time is up", async (t) => {
  const clock = new ManualClock();
  const fleet = new Fleet(clock);
  const target = { model: "m", version: "m@2" };
  const { signal } = new AbortController();
  const wait = () => awaitRollout(fleet, clock, target, { timeoutMs: 60_000, signal });
  fleet.hear(summary("us", 1, [edgeOf("a", "m@1"), edgeOf("b", "m@1")]));
  const served = wait();
  fleet.hear(summary("us", 2, [edgeOf("a", "m@2"), edgeOf("b", "m@1")]));
  fleet.hear(summary("us", 3, [edgeOf("a", "m@2"), edgeOf("b", "m@2")]));
  t.deepEqual((await served).serving, ["us/a", "us/b"]);

  fleet.hear(summary("us", 4, [edgeOf("a", "m@2"), edgeOf("b", "m@1")]));
  const late = wait();
  for (let at = 5; at < 20; at += 1) {
    clock.advance(4_000);
    fleet.hear(summary("us", at, [edgeOf("a", "m@2"), edgeOf("b", "m@1")]));
  }
  t.deepEqual((await late).waiting, ["us/b"]);
  t.is(clock.timers, 0);
});
