// Faults as gRPC statuses and back. The closed code travels in metadata, because several of our
// codes share one gRPC status.
import { Metadata, type ServiceError, type StatusObject, status } from "@grpc/grpc-js";
import { asFault, Fault, type FaultCode, isFaultCode } from "../../proto/fault.ts";

export const faultKeys = {
  code: "isthmus-fault",
  retryAfterMs: "isthmus-retry-after-ms",
  param: "isthmus-param",
} as const;

const DETAILS_CHARS_MAX = 1000;
const PARAM_CHARS_MAX = 200;

/** What a fault looks like to a gRPC client. */
export function faultToStatus(thrown: unknown): StatusObject {
  const fault = asFault(thrown);
  const metadata = new Metadata();
  metadata.set(faultKeys.code, fault.code);
  if (fault.retryAfterMs > 0) {
    metadata.set(faultKeys.retryAfterMs, String(Math.ceil(fault.retryAfterMs)));
  }
  if (fault.param !== "") metadata.set(faultKeys.param, asciiOf(fault.param));
  return { code: fault.kind.grpc, details: detailsOf(fault.message), metadata };
}

/** Reads the fault back from what a call was rejected with. */
export function statusToFault(thrown: unknown): Fault {
  if (thrown instanceof Fault) return thrown;
  if (!isServiceError(thrown)) return asFault(thrown);
  const { code, details, metadata } = thrown;
  const named = firstOf(metadata, faultKeys.code);
  if (named !== "" && isFaultCode(named)) {
    return new Fault(named, details, {
      retryAfterMs: Number(firstOf(metadata, faultKeys.retryAfterMs)) || 0,
      param: firstOf(metadata, faultKeys.param),
    });
  }
  return new Fault(codeOf(code, details), details || thrown.message, { cause: thrown });
}

const codeOfStatus: Partial<Record<status, FaultCode>> = {
  [status.CANCELLED]: "cancelled",
  [status.INVALID_ARGUMENT]: "invalid-argument",
  [status.DEADLINE_EXCEEDED]: "deadline-exceeded",
  [status.NOT_FOUND]: "not-found",
  [status.FAILED_PRECONDITION]: "failed-precondition",
  [status.UNIMPLEMENTED]: "unsupported",
  [status.UNAVAILABLE]: "link-lost",
};

/** A status that none of our servers wrote: the library's or the network's own words. */
function codeOf(code: status, details: string): FaultCode {
  if (code === status.RESOURCE_EXHAUSTED) {
    return details.includes("larger than") ? "payload-too-large" : "overloaded";
  }
  // A connection that breaks midway resets its streams, which grpc-js reports as INTERNAL.
  if (code === status.INTERNAL && details.startsWith("Received RST_STREAM")) return "link-lost";
  return codeOfStatus[code] ?? "internal";
}

function isServiceError(thrown: unknown): thrown is ServiceError {
  return (
    thrown instanceof Error &&
    "code" in thrown &&
    typeof thrown.code === "number" &&
    "details" in thrown
  );
}

function firstOf(metadata: Metadata | undefined, key: string): string {
  return metadata?.get(key)[0]?.toString() ?? "";
}

/** grpc-js percent-encodes details, which throws on half a surrogate pair. */
function detailsOf(message: string): string {
  return message.slice(0, DETAILS_CHARS_MAX).toWellFormed();
}

/** Metadata values are printable ASCII. */
function asciiOf(text: string): string {
  return text.slice(0, PARAM_CHARS_MAX).replace(/[^\x20-\x7e]/g, "?");
}
