// Nothing malformed or forged gets past the first look at a heartbeat.
import { create, toBinary } from "@bufbuild/protobuf";
import test from "ava";
import fc from "fast-check";
import {
  DriftScoreSchema,
  type Heartbeat,
  HeartbeatSchema,
} from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import { regionId } from "../../../proto/ids.ts";
import { readHeartbeat } from "../../../region/membership/heartbeat-rules.ts";
import { heartbeatOf, modelState } from "../heartbeat-maker.ts";

const us = regionId("us");
const read = (heartbeat: Heartbeat, subject = "isthmus.hb.us.a") =>
  readHeartbeat(us, subject, toBinary(HeartbeatSchema, heartbeat));

test("a well-formed heartbeat is read", (t) => {
  const heartbeat = read(heartbeatOf("a", 1));
  t.is(typeof heartbeat === "string" ? heartbeat : heartbeat.edge, "a");
});

for (const [what, heartbeat, subject] of [
  ["another edge's name", heartbeatOf("b", 1), "isthmus.hb.us.a"],
  ["another region", heartbeatOf("a", 1, { region: "eu" }), "isthmus.hb.us.a"],
  ["a name that isn't one", heartbeatOf("A*", 1), "isthmus.hb.us.A*"],
  ["no address", heartbeatOf("a", 1, { grpc: "" }), "isthmus.hb.us.a"],
  [
    "a model name that isn't one",
    heartbeatOf("a", 1, { models: [modelState({ model: "../x" })] }),
    "isthmus.hb.us.a",
  ],
  [
    "too many models",
    heartbeatOf("a", 1, { models: Array.from({ length: 129 }, () => modelState()) }),
    "isthmus.hb.us.a",
  ],
  [
    "a drift that is no number",
    heartbeatOf("a", 1, { drift: [create(DriftScoreSchema, { model: "m", score: Number.NaN })] }),
    "isthmus.hb.us.a",
  ],
] as const) {
  test(`a heartbeat with ${what} is refused`, (t) => {
    t.is(typeof read(heartbeat, subject), "string");
  });
}

test("random bytes never throw and never pass for an edge of another name", (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const outcome = readHeartbeat(us, "isthmus.hb.us.a", bytes);
      t.true(typeof outcome === "string" || outcome.edge === "a");
    }),
    { seed: 11, numRuns: 2000 },
  );
});
