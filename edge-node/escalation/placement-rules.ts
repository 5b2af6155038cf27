// Which requests this edge must not serve, whatever it has free: those that a policy keeps from
// this place, and the turns of a session, which belong to the region that keeps the conversation.
import { Fault } from "../../proto/fault.ts";
import { residencyRefusal } from "../../runtime/policy/residency.ts";
import type { PlacedRequest } from "./escalating-backend.ts";

export interface Place {
  readonly region: string;
  /** Legal regimes that hold here. */
  readonly jurisdictions: readonly string[];
  /** Whether the engine that serves the model uses a GPU. */
  hasGpu(model: string): boolean;
}

/** The rule as a fault that names it, for an edge that nobody stands behind; null for none. */
export function onlyElsewhere(request: PlacedRequest, place: Place): Fault | null {
  const { policy, model } = request;
  const refusal = residencyRefusal(policy, place.region, place.jurisdictions);
  if (refusal !== null) {
    const param = refusal.startsWith("policy.regions") ? "policy.regions" : "policy.jurisdictions";
    return new Fault("failed-precondition", refusal, { param });
  }
  if (policy?.gpuRequired === true && !place.hasGpu(model)) {
    const message = "policy.gpu_required, and there is no GPU here";
    return new Fault("failed-precondition", message, { param: "policy.gpu_required" });
  }
  if ("sessionId" in request && request.sessionId !== "") {
    const message = "session_id needs a region, which keeps the conversation";
    return new Fault("failed-precondition", message, { param: "session_id" });
  }
  return null;
}
