// Turns what the NATS client throws into the mesh's faults, in one place.
import { JetStreamApiError } from "@nats-io/jetstream";
import { errors } from "nats";
import { Fault, type FaultCode } from "../../proto/fault.ts";

/** Names the fault behind an error of the NATS client. Faults pass through unchanged. */
export function natsFault(thrown: unknown, what: string): Fault {
  if (thrown instanceof Fault) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new Fault(codeOf(thrown), `${what}: ${message}`, { cause: thrown });
}

function codeOf(thrown: unknown): FaultCode {
  // A request without responders arrives wrapped; its cause says so.
  const error = thrown instanceof errors.RequestError ? (thrown.cause ?? thrown) : thrown;
  if (error instanceof errors.NoRespondersError) return "unavailable";
  if (error instanceof errors.TimeoutError) return "link-lost";
  if (error instanceof errors.RequestError) return "unavailable";
  if (error instanceof errors.ClosedConnectionError) return "unavailable";
  if (error instanceof errors.ConnectionError) return "link-lost";
  if (error instanceof errors.DrainingConnectionError) return "draining";
  if (error instanceof errors.PermissionViolationError) return "failed-precondition";
  if (error instanceof errors.InvalidArgumentError) return "invalid-argument";
  if (error instanceof JetStreamApiError) return error.status === 404 ? "not-found" : "conflict";
  return "internal";
}
