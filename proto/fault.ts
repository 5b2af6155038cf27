// Everything that can go wrong in the mesh, as one class with a closed set of codes, and the one
// table that maps a code to its gRPC status and HTTP status.

/** When in a request's life the fault struck: before it was taken, while it waited, or midway. */
export type FaultStage = "rejected" | "evicted" | "interrupted";

interface FaultKind {
  /** gRPC status number (google.rpc.Code). */
  readonly grpc: number;
  readonly http: number;
  /** Whether another edge may well succeed with the same request. */
  readonly retriable: boolean;
}

const INVALID_ARGUMENT = 3;
const DEADLINE_EXCEEDED = 4;
const NOT_FOUND = 5;
const RESOURCE_EXHAUSTED = 8;
const FAILED_PRECONDITION = 9;
const UNIMPLEMENTED = 12;
const INTERNAL = 13;
const UNAVAILABLE = 14;
const CANCELLED = 1;

export const faultKinds = {
  "invalid-argument": { grpc: INVALID_ARGUMENT, http: 400, retriable: false },
  "context-length-exceeded": { grpc: INVALID_ARGUMENT, http: 400, retriable: false },
  "payload-too-large": { grpc: RESOURCE_EXHAUSTED, http: 413, retriable: false },
  unsupported: { grpc: UNIMPLEMENTED, http: 400, retriable: false },
  "model-not-found": { grpc: NOT_FOUND, http: 404, retriable: false },
  "not-found": { grpc: NOT_FOUND, http: 404, retriable: false },
  conflict: { grpc: FAILED_PRECONDITION, http: 409, retriable: false },
  "failed-precondition": { grpc: FAILED_PRECONDITION, http: 412, retriable: false },
  quarantined: { grpc: FAILED_PRECONDITION, http: 422, retriable: false },
  cancelled: { grpc: CANCELLED, http: 499, retriable: false },
  "deadline-exceeded": { grpc: DEADLINE_EXCEEDED, http: 504, retriable: false },
  /** Full: come back after retryAfterMs. */
  overloaded: { grpc: RESOURCE_EXHAUSTED, http: 429, retriable: true },
  /** The caller reads too slowly for its bounded queue. */
  "slow-consumer": { grpc: RESOURCE_EXHAUSTED, http: 429, retriable: false },
  draining: { grpc: UNAVAILABLE, http: 503, retriable: true },
  /** Nothing in reach can serve it. */
  unavailable: { grpc: UNAVAILABLE, http: 503, retriable: true },
  /** The model is known but not loaded here. */
  "model-absent": { grpc: UNAVAILABLE, http: 503, retriable: true },
  "engine-crashed": { grpc: UNAVAILABLE, http: 503, retriable: true },
  /** The peer or the link to it is gone or silent. */
  "link-lost": { grpc: UNAVAILABLE, http: 503, retriable: true },
  internal: { grpc: INTERNAL, http: 500, retriable: false },
} as const satisfies Record<string, FaultKind>;

export type FaultCode = keyof typeof faultKinds;

export interface FaultDetail {
  readonly stage?: FaultStage;
  /** Milliseconds after which another try makes sense. */
  readonly retryAfterMs?: number;
  /** The request field at fault, where it is one. */
  readonly param?: string;
  readonly cause?: unknown;
}

/** An expected failure. The message says what is wrong and what to do; it never holds a prompt. */
export class Fault extends Error {
  readonly code: FaultCode;
  readonly stage: FaultStage;
  readonly retryAfterMs: number;
  readonly param: string;

  constructor(code: FaultCode, message: string, detail: FaultDetail = {}) {
    super(message, detail.cause === undefined ? undefined : { cause: detail.cause });
    this.name = "Fault";
    this.code = code;
    this.stage = detail.stage ?? "rejected";
    this.retryAfterMs = detail.retryAfterMs ?? 0;
    this.param = detail.param ?? "";
  }

  get kind(): FaultKind {
    return faultKinds[this.code];
  }

  get retriable(): boolean {
    return this.kind.retriable;
  }
}

export function isFaultCode(code: string): code is FaultCode {
  return Object.hasOwn(faultKinds, code);
}

/** Turns whatever was thrown into a Fault, once, at the adapter that caught it. */
export function asFault(thrown: unknown, fallback: FaultCode = "internal"): Fault {
  if (thrown instanceof Fault) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new Fault(fallback, message, { cause: thrown });
}
