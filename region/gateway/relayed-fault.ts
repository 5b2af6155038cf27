// What a fault of an edge or a peer region means to a stream that could go elsewhere.
import { asFault, Fault } from "../../proto/fault.ts";

/**
 * Two codes are final where they arise but not here: a model unknown to one process is known to
 * this region, and a cancel that our caller didn't ask for is a source giving up.
 */
export function relayedFault(thrown: unknown, signal: AbortSignal): Fault {
  const fault = asFault(thrown);
  const { message, stage } = fault;
  if (fault.code === "model-not-found") {
    return new Fault("model-absent", message, { stage, cause: fault });
  }
  if (fault.code === "cancelled" && !signal.aborted) {
    return new Fault("link-lost", `given up by its source: ${message}`, { stage, cause: fault });
  }
  return fault;
}
