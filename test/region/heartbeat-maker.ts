// Heartbeats with the few fields that a test cares about.
import { create } from "@bufbuild/protobuf";
import {
  type Heartbeat,
  HeartbeatSchema,
  type ModelState,
  ModelStateSchema,
  ModelStatus,
} from "../../proto/gen/isthmus/v1/mesh_pb.ts";

export type ModelFields = Partial<Omit<ModelState, "$typeName" | "$unknown">>;
export type HeartbeatFields = Partial<Omit<Heartbeat, "$typeName" | "$unknown">>;

export function modelState(init: ModelFields = {}): ModelState {
  return create(ModelStateSchema, {
    model: "m",
    version: "m@1",
    status: ModelStatus.READY,
    slots: 8,
    queueMax: 32,
    prefillTokensPerS: 1000,
    decodeTokensPerS: 100,
    contextLength: 512,
    ...init,
  });
}

export function heartbeatOf(edge: string, sequence: number, init: HeartbeatFields = {}): Heartbeat {
  return create(HeartbeatSchema, {
    region: "us",
    edge,
    incarnation: 1n,
    sequence: BigInt(sequence),
    grpc: "127.0.0.1:1",
    http: "http://127.0.0.1:2",
    models: [modelState()],
    ...init,
  });
}
