// How trunks follow the edges: opened when they join, changed when they restart, closed at the end.
import { toBinary } from "@bufbuild/protobuf";
import test from "ava";
import { HeartbeatSchema } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import { edgeId, regionId } from "../../../proto/ids.ts";
import { subjects } from "../../../proto/subjects.ts";
import { EdgeRegistry } from "../../../region/membership/edge-registry.ts";
import type { MembershipChange } from "../../../region/membership/membership.ts";
import { plainRequest } from "../../../region/route/route-request.ts";
import { silentLog } from "../../../runtime/log.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { type FakeTrunk, fakeTrunk } from "../fake-trunk.ts";
import { type HeartbeatFields, heartbeatOf } from "../heartbeat-maker.ts";

function setUp() {
  const clock = new ManualClock();
  const trunks: FakeTrunk[] = [];
  const changes: MembershipChange[] = [];
  const registry = new EdgeRegistry({
    region: regionId("us"),
    clock,
    log: silentLog(),
    openTrunk: (address) => {
      const trunk = fakeTrunk(address);
      trunks.push(trunk);
      return trunk;
    },
  });
  registry.onChange((change) => changes.push(change));
  const beat = (edge: string, sequence: number, init: HeartbeatFields = {}) =>
    registry.takeHeartbeat(
      subjects.heartbeat(regionId("us"), edgeId(edge)),
      toBinary(HeartbeatSchema, heartbeatOf(edge, sequence, init)),
    );
  const statusOf = (edge: string) =>
    [...registry.members()].find((member) => member.edge === edge)?.status;
  return { clock, trunks, changes, registry, beat, statusOf };
}

test("a new edge gets a trunk; its state counts at once, without waiting for a tick", (t) => {
  const { trunks, beat, statusOf } = setUp();
  t.is(beat("a", 1), null);
  t.deepEqual(
    trunks.map(({ address }) => address),
    ["127.0.0.1:1"],
  );
  trunks[0]!.become("up");
  t.is(statusOf("a"), "ready");
  trunks[0]!.become("down");
  t.is(statusOf("a"), "suspect");
});

test("a restarted edge gets a new trunk, and the old one says nothing any more", (t) => {
  const { trunks, registry, beat, statusOf } = setUp();
  beat("a", 1);
  trunks[0]!.become("up");
  registry.table.dispatched("a", "m", plainRequest("m", 1), 0);
  t.is(registry.table.summary("m", 0)?.freeSlots, 7);
  beat("a", 1, { incarnation: 2n });
  t.true(trunks[0]!.closed);
  trunks[0]!.become("up");
  t.is(statusOf("a"), "suspect");
  trunks[1]!.become("up");
  t.is(statusOf("a"), "ready");
  t.is(registry.table.summary("m", 0)?.freeSlots, 8);
});

test("routing follows: what is ready gets work, a report takes in what was sent before it", (t) => {
  const { clock, trunks, registry, beat } = setUp();
  const chosen = () => {
    const nowMs = clock.monotonicMs();
    return registry.table.decide(plainRequest("m", 1), nowMs, () => 0).chosen?.edge;
  };
  beat("a", 1);
  t.is(chosen(), undefined);
  trunks[0]!.become("up");
  t.is(chosen(), "a");
  registry.table.dispatched("a", "m", plainRequest("m", 1), clock.monotonicMs());
  t.is(registry.table.summary("m", 0)?.freeSlots, 7);
  clock.advance(100);
  beat("a", 2);
  t.is(registry.table.summary("m", 0)?.freeSlots, 8, "it says that nothing is active");
  trunks[0]!.become("down");
  t.is(chosen(), undefined);
});

test("an edge that stays away is dead, then forgotten, its trunk closed", async (t) => {
  const { clock, trunks, changes, registry, beat, statusOf } = setUp();
  beat("a", 1);
  trunks[0]!.become("up");
  trunks[0]!.become("down");
  clock.advance(4250);
  t.is(statusOf("a"), "dead");
  t.false(trunks[0]!.closed);
  clock.advance(61_000);
  t.true(trunks[0]!.closed);
  t.is([...registry.members()].length, 0);
  t.is(changes.at(-1)?.kind, "removed");
});

test("messages that can't be believed change nothing", (t) => {
  const { registry, trunks } = setUp();
  const bytes = toBinary(HeartbeatSchema, heartbeatOf("a", 1));
  t.is(typeof registry.takeHeartbeat("isthmus.hb.us.b", bytes), "string");
  t.is(typeof registry.takeHeartbeat("isthmus.hb.us.a", bytes.slice(3)), "string");
  t.is(trunks.length, 0);
});
