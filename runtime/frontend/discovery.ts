// The public gRPC service isthmus.v1.Discovery: which regions and edges there are.
import { Discovery, type GetTopologyResponse } from "../../proto/gen/isthmus/v1/discovery_pb.ts";
import { type BoundService, bindService } from "../grpc/bridge.ts";

/** Serves whatever `topology` says at the time of the call. */
export function discoveryService(topology: () => GetTopologyResponse): BoundService {
  return bindService(Discovery, { getTopology: async () => topology() });
}
