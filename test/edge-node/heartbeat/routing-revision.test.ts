// When a heartbeat says that routing may keep what it made of the one before.
import { create } from "@bufbuild/protobuf";
import test from "ava";
import { RoutingRevision } from "../../../edge-node/heartbeat/routing-revision.ts";
import {
  EdgeLabelsSchema,
  GpuStateSchema,
  type Heartbeat,
  HeartbeatSchema,
  ModelStateSchema,
} from "../../../proto/gen/isthmus/v1/mesh_pb.ts";

const base = (): Heartbeat =>
  create(HeartbeatSchema, {
    edge: "eu-1",
    models: [create(ModelStateSchema, { model: "commands", slots: 4 })],
    labels: create(EdgeLabelsSchema, { watts: 10 }),
  });

test("what routing doesn't read leaves the revision as it is", (t) => {
  const revisions = new RoutingRevision();
  const first = revisions.of(base());
  t.not(first, 0, "0 means that it isn't told");
  const later = base();
  later.sequence = 9n;
  later.memoryFreeBytes = 123n;
  later.rssBytes = 77n;
  t.is(revisions.of(later), first);
});

test("every change of what routing reads is another revision, and so is the way back", (t) => {
  const revisions = new RoutingRevision();
  const changes: ((heartbeat: Heartbeat) => void)[] = [
    () => {},
    (heartbeat) => {
      heartbeat.draining = true;
    },
    (heartbeat) => {
      heartbeat.models[0]!.active = 1;
    },
    (heartbeat) => {
      heartbeat.models = [];
    },
    (heartbeat) => {
      heartbeat.labels!.watts = 11;
    },
    (heartbeat) => {
      heartbeat.gpus.push(create(GpuStateSchema, { name: "a" }));
    },
    () => {},
  ];
  const seen = changes.map((change) => {
    const heartbeat = base();
    change(heartbeat);
    return revisions.of(heartbeat);
  });
  t.is(new Set(seen).size, changes.length);
});

test("a warmer GPU is no news", (t) => {
  const revisions = new RoutingRevision();
  const of = (temperatureC: number) => {
    const heartbeat = base();
    heartbeat.gpus.push(create(GpuStateSchema, { name: "a", temperatureC }));
    return revisions.of(heartbeat);
  };
  t.is(of(40), of(70));
});
