// When streams leave an edge of which only membership knows that it is lost.
import { toBinary } from "@bufbuild/protobuf";
import test from "ava";
import { HeartbeatSchema } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import { regionId } from "../../../proto/ids.ts";
import { createGateway } from "../../../region/gateway/gateway.ts";
import { EdgeRegistry } from "../../../region/membership/edge-registry.ts";
import { PeerRegistry } from "../../../region/spill/peer-registry.ts";
import { silentLog } from "../../../runtime/log.ts";
import { createMetrics } from "../../../runtime/metrics.ts";
import { Caller, finished, started, tokens } from "../../runtime/continuation/scripted-source.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { type FakeTrunk, fakeTrunk } from "../fake-trunk.ts";
import { type HeartbeatFields, heartbeatOf } from "../heartbeat-maker.ts";
import { contextOf, requestFor } from "../in-process-region.ts";

/** Edges a (which routing takes first) and b, both ready. */
function setUp() {
  const clock = new ManualClock();
  const log = silentLog();
  const region = regionId("us");
  const trunks = new Map<string, FakeTrunk>();
  const openTrunk = (address: string) => {
    const trunk = fakeTrunk(address);
    trunks.set(address, trunk);
    return trunk;
  };
  const edges = new EdgeRegistry({ region, clock, log, openTrunk });
  const peers = new PeerRegistry({ region, clock, log, openTrunk, peers: [] });
  const gateway = createGateway({
    ...{ region, edges, peers, clock, log, metrics: createMetrics({}) },
    random: () => 0,
    inFlightMax: 10,
  });
  let sequence = 0;
  const beat = (edge: string, init: HeartbeatFields = {}) => {
    sequence += 1;
    const heartbeat = heartbeatOf(edge, sequence, { grpc: `${edge}.test:1`, ...init });
    edges.takeHeartbeat(`isthmus.hb.us.${edge}`, toBinary(HeartbeatSchema, heartbeat));
    const trunk = trunks.get(`${edge}.test:1`)!;
    trunk.become("up");
    return trunk;
  };
  return { clock, gateway, a: beat("a"), b: beat("b"), beat };
}

/** Starts a stream on a, with two tokens delivered. */
function streamOn({ gateway, a }: ReturnType<typeof setUp>) {
  const caller = new Caller();
  const done = gateway.generate(requestFor(3), contextOf(), caller.onEvent);
  const [call] = a.calls;
  call!.onEvent(started("a"));
  call!.onEvent(tokens(0, [1, 2], "xy"));
  return { caller, done };
}

test("a trunk silent for a second is left before it is given up", async (t) => {
  const mesh = setUp();
  const { caller, done } = streamOn(mesh);
  mesh.clock.advance(500);
  t.is(mesh.b.calls.length, 0);
  mesh.a.silentMs = 1250;
  mesh.clock.advance(250);
  t.true(mesh.a.calls[0]?.context.signal.aborted);
  t.deepEqual(mesh.b.calls[0]?.request.resume?.ids, [1, 2]);
  mesh.b.calls[0]!.onEvent(started("b"));
  mesh.b.calls[0]!.onEvent(finished("z", 2));
  await done;
  t.is(caller.text, "xyz");
  t.deepEqual(caller.trouble, []);
});

test("an edge whose heartbeats stop but whose trunk answers keeps its streams", async (t) => {
  const mesh = setUp();
  streamOn(mesh).done.catch(() => {}); // nobody ends it in this test
  for (let k = 0; k < 20; k += 1) {
    await mesh.clock.advanceAsync(250);
    mesh.beat("b");
  }
  t.false(mesh.a.calls[0]?.context.signal.aborted);
  t.is(mesh.b.calls.length, 0);
  mesh.gateway.generate(requestFor(3), contextOf(), () => {}).catch(() => {});
  t.is(mesh.a.calls.length, 1, "it gets nothing new");
  t.is(mesh.b.calls.length, 1);
});

test("a restarted edge's streams go on elsewhere at once", (t) => {
  const mesh = setUp();
  streamOn(mesh).done.catch(() => {}); // nobody ends it in this test
  mesh.beat("a", { incarnation: 2n });
  t.true(mesh.a.calls[0]?.context.signal.aborted);
  t.deepEqual(mesh.b.calls[0]?.request.resume?.ids, [1, 2]);
});
