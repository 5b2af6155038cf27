// What another region's summary must look like before anything believes it.
import { fromBinary } from "@bufbuild/protobuf";
import { type RegionSummary, RegionSummarySchema } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import { namePattern } from "../../proto/ids.ts";

/** NATS carries at most 1 MB anyway. */
const BYTES_MAX = 1 << 20;
const addressPattern = /^[a-zA-Z0-9.:[\]-]{1,253}:\d{1,5}$/;

/** The summary, or why it can't be one. The subject must name the region of the body. */
export function readSummary(subject: string, body: Uint8Array): RegionSummary | string {
  if (body.byteLength > BYTES_MAX) return `longer than ${BYTES_MAX} bytes`;
  let summary: RegionSummary;
  try {
    summary = fromBinary(RegionSummarySchema, body);
  } catch {
    return "not a RegionSummary";
  }
  if (!namePattern.test(summary.region)) return "no region name";
  if (subject.split(".").at(-1) !== summary.region) return "the subject names another region";
  if (!addressPattern.test(summary.grpc)) return "no gRPC address";
  return summary;
}
