// What a heartbeat must look like before anything believes it.
import { fromBinary } from "@bufbuild/protobuf";
import {
  type DriftScore,
  type Heartbeat,
  HeartbeatSchema,
} from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import { modelPattern, namePattern, type RegionId } from "../../proto/ids.ts";

/** One edge can't make the region keep more than this. */
const BYTES_MAX = 64 << 10;
const MODELS_MAX = 128;
const GPUS_MAX = 64;
const addressPattern = /^[a-zA-Z0-9.:[\]-]{1,253}:\d{1,5}$/;

/** The heartbeat, or why it can't be one. The subject must name the region and edge of the body. */
export function readHeartbeat(
  region: RegionId,
  subject: string,
  body: Uint8Array,
): Heartbeat | string {
  if (body.byteLength > BYTES_MAX) return `longer than ${BYTES_MAX} bytes`;
  let heartbeat: Heartbeat;
  try {
    heartbeat = fromBinary(HeartbeatSchema, body);
  } catch {
    return "not a Heartbeat";
  }
  if (!namePattern.test(heartbeat.edge)) return "no edge name";
  if (subject.split(".").at(-1) !== heartbeat.edge) return "the subject names another edge";
  if (heartbeat.region !== region) return "of another region";
  if (!addressPattern.test(heartbeat.grpc)) return "no gRPC address";
  if (heartbeat.models.length > MODELS_MAX) return `more than ${MODELS_MAX} models`;
  if (heartbeat.gpus.length > GPUS_MAX) return `more than ${GPUS_MAX} GPUs`;
  if (heartbeat.models.some(({ model }) => !modelPattern.test(model))) return "a wrong model name";
  if (heartbeat.drift.length > MODELS_MAX) return `more than ${MODELS_MAX} drift scores`;
  if (!heartbeat.drift.every(isDriftScore)) return "a wrong drift score";
  return heartbeat;
}

function isDriftScore({ model, score, threshold }: DriftScore): boolean {
  // NaN is in no range.
  const isShare = (value: number) => value >= 0 && value <= 1;
  return modelPattern.test(model) && isShare(score) && isShare(threshold);
}
