// A completion as it is asked for over a trunk.
import type { GenerateRequest } from "../../proto/gen/isthmus/v1/inference_pb.ts";
import type { Submit } from "../../proto/gen/isthmus/v1/trunk_pb.ts";
import type { CallContext } from "../inference/backend.ts";

export function submission(id: number, request: GenerateRequest, context: CallContext): Submit {
  const { visitedRegions, requestId, choice = 0, deadlineMs } = context;
  return {
    $typeName: "isthmus.v1.Submit",
    id,
    request,
    visitedRegions: [...visitedRegions],
    requestId,
    choice,
    deadlineMs: Number.isFinite(deadlineMs) ? BigInt(Math.ceil(deadlineMs)) : 0n,
  };
}
