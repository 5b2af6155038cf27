// Heartbeats by the clock alone: every period, soon after a change, never in a burst, last words.
import { fromBinary } from "@bufbuild/protobuf";
import test from "ava";
import { Heart, type Vitals } from "../../../edge-node/heartbeat/heart.ts";
import {
  HEARTBEAT_GAP_MS,
  HEARTBEAT_PERIOD_MS,
} from "../../../edge-node/heartbeat/heartbeat-pace.ts";
import { type Heartbeat, HeartbeatSchema } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import { ManualClock } from "../../support/manual-clock.ts";

function setUp() {
  const clock = new ManualClock();
  const sent: { readonly atMs: number; readonly beat: Heartbeat }[] = [];
  const vitals: { -readonly [K in keyof Vitals]: Vitals[K] } = {
    models: [],
    memoryTotalBytes: 8n,
    memoryFreeBytes: 4n,
    rssBytes: 1n,
    gpus: [],
    inFlight: 0,
    draining: false,
    training: false,
    desiredRevision: 3n,
  };
  const heart = new Heart({
    identity: {
      region: "us",
      edge: "us-1",
      incarnation: 99n,
      grpc: "127.0.0.1:1",
      http: "http://127.0.0.1:2",
      publicKey: Uint8Array.of(1, 2),
    },
    vitals: () => vitals,
    publish: (body) =>
      sent.push({ atMs: clock.monotonicMs(), beat: fromBinary(HeartbeatSchema, body) }),
    clock,
  });
  return { clock, sent, vitals, heart };
}

test("beats every period from the start, each with the next sequence number", (t) => {
  const { clock, sent, heart } = setUp();
  clock.advance(3 * HEARTBEAT_PERIOD_MS);
  t.deepEqual(
    sent.map(({ atMs }) => atMs),
    [0, 1, 2, 3].map((n) => n * HEARTBEAT_PERIOD_MS),
  );
  t.deepEqual(
    sent.map(({ beat }) => beat.sequence),
    [1n, 2n, 3n, 4n],
  );
  t.like(sent[0]!.beat, { edge: "us-1", incarnation: 99n, desiredRevision: 3n, leaving: false });
  heart.stop();
});

test("a change is told at once after quiet, and a burst of changes once a gap", (t) => {
  const { clock, sent, vitals, heart } = setUp();
  clock.advance(200);
  vitals.inFlight = 1;
  heart.changed();
  clock.advance(0);
  t.is(sent.at(-1)!.beat.inFlight, 1);
  t.is(sent.at(-1)!.atMs, 200);
  for (let ms = 0; ms < 100; ms++) {
    heart.changed();
    clock.advance(1);
  }
  const burst = sent.filter(({ atMs }) => atMs > 200);
  t.deepEqual(
    burst.map(({ atMs }) => atMs),
    [200 + HEARTBEAT_GAP_MS, 200 + 2 * HEARTBEAT_GAP_MS],
  );
  heart.stop();
});

test("after a change the next beat is a period later", (t) => {
  const { clock, sent, heart } = setUp();
  clock.advance(300);
  heart.changed();
  clock.advance(HEARTBEAT_PERIOD_MS + 100);
  t.deepEqual(
    sent.map(({ atMs }) => atMs),
    [0, 300, 800],
  );
  heart.stop();
});

test("the last one says that it leaves, and nothing follows", (t) => {
  const { clock, sent, heart } = setUp();
  clock.advance(10);
  heart.stop();
  heart.stop();
  heart.changed();
  clock.advance(5000);
  t.deepEqual(
    sent.map(({ beat }) => beat.leaving),
    [false, true],
  );
  t.is(clock.timers, 0);
});
