// What routing says of each edge for one request, and which it takes.
import type { FaultCode } from "../../proto/fault.ts";

/** A prediction term by term, in milliseconds; all of them add up to the total. */
export interface RouteTerms {
  readonly rttMs: number;
  /** Until a slot is free. */
  readonly queueMs: number;
  /** Until the model is loaded. */
  readonly loadMs: number;
  /** Of the part of the prompt that isn't cached there, behind prompts sent there before it. */
  readonly prefillMs: number;
  /** One step at the load that the edge would then have. */
  readonly decodeMs: number;
  /** Of the expected completion, at that load. */
  readonly generationMs: number;
  /** For recent failures. */
  readonly penaltyMs: number;
  /** For changing the version in the middle of a stream. */
  readonly versionMs: number;
  /** What the energy and the cost of it are worth by the request's policy. */
  readonly policyMs: number;
}

/** An edge that can serve the request, and how soon. */
export interface RoutePrediction {
  readonly edge: string;
  /** `region/edge`. */
  readonly key: string;
  readonly version: string;
  /** Tokens at the prompt's head whose state it is thought to hold. */
  readonly cachedTokens: number;
  readonly terms: RouteTerms;
  /** To the first token: round trip, queue, load, prefill, one step. */
  readonly ttftMs: number;
  readonly totalMs: number;
  /** Between two tokens there, once it decodes; 0 when the edge hasn't said. */
  readonly interTokenP99Ms: number;
}

/** Why an edge is no candidate; closed, so that a gateway can tell full from absent. */
export type Rejection =
  | "residency"
  | "status"
  | "model-absent"
  | "model-not-ready"
  | "no-memory"
  | "other-version"
  | "gpu-required"
  | "preemptible"
  | "ejected"
  | "full"
  | "too-late"
  | "tried";

export type Assessment =
  | { readonly kind: "candidate"; readonly prediction: RoutePrediction }
  | {
      readonly kind: "rejected";
      readonly edge: string;
      readonly key: string;
      readonly rejection: Rejection;
      readonly reason: string;
      /** Of a full or late one: the predicted wait for a slot. */
      readonly queueMs: number;
    };

export interface Decision {
  readonly chosen: RoutePrediction | null;
}

export type DispatchOutcome =
  | {
      readonly kind: "finished";
      readonly ttftMs: number;
      /** Tokens that it made. */
      readonly tokens: number;
      /** Between two of them; 0 when there were fewer than two. */
      readonly tpotMs: number;
    }
  /** A call without a stream succeeded; nothing of it is timed. */
  | { readonly kind: "answered" }
  | { readonly kind: "fault"; readonly code: FaultCode }
  | { readonly kind: "cancelled" };

/** A request under way on an edge; the table counts it until it has ended. */
export interface DispatchHandle {
  /** Its first token came: its prompt is read. Optional; `ended` implies it. */
  firstToken(nowMs: number): void;
  /** Call once; later calls do nothing. */
  ended(nowMs: number, outcome: DispatchOutcome): void;
}
