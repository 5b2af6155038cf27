// What the next source of a stream is asked for.
import { create } from "@bufbuild/protobuf";
import {
  type GenerateRequest,
  GenerateRequestSchema,
  ResumeSchema,
} from "../../proto/gen/isthmus/v1/inference_pb.ts";
import type { StreamState } from "./stream-state.ts";

/** The caller's own request as long as nothing was delivered beyond it, else a resuming one. */
export function onwardRequest(state: StreamState): GenerateRequest {
  const request = withinHedges(state);
  const { delivery } = state;
  const known = request.resume?.ids.length ?? 0;
  if (delivery.ids.length === known && delivery.textLength === (request.resume?.textLength ?? 0)) {
    return request;
  }
  const version = state.started?.version ?? request.resume?.version ?? "";
  const { fromRegion = "", fromEdge = "" } = state.departure ?? {};
  const resume = create(ResumeSchema, {
    ids: delivery.ids.slice(),
    textLength: delivery.textLength,
    version,
    // Who keeps the session needs the whole answer, and may not be who kept its beginning.
    text: request.sessionId === "" ? "" : delivery.text,
    left: fromEdge === "" ? "" : `${fromRegion}/${fromEdge}`,
  });
  return create(GenerateRequestSchema, { ...request, resume });
}

/** A request that was hedged here isn't hedged again by whoever it is relayed to. */
function withinHedges({ request, hedges, bounds }: StreamState): GenerateRequest {
  const { policy } = request;
  if (policy?.hedge !== true || hedges < bounds.hedgesMax) return request;
  return create(GenerateRequestSchema, { ...request, policy: { ...policy, hedge: false } });
}
