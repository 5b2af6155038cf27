// What routing weighs: an edge with one model, as last reported and as corrected since, and what
// the request needs.
import type { ModelState } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { MemberStatus } from "../membership/member.ts";

export interface RouteTarget {
  /** `region/edge`. */
  readonly key: string;
  readonly edge: string;
  readonly region: string;
  readonly status: MemberStatus;
  readonly statusReason: string;
  /** The model's state there; undefined when the edge doesn't have it. */
  readonly model: ModelState | undefined;
  readonly rttMs: number;
  /** Requests of this region there now, less those that the last report already counts. */
  readonly unreported: number;
  /** Added for recent failures. */
  readonly penaltyMs: number;
  /** Tokens at the head of this prompt whose state the edge is thought to hold. */
  readonly cachedTokens: number;
}

export interface RouteRequest {
  readonly model: string;
  /** Only this version will do; empty for any. */
  readonly version: string;
  /** The version that began the stream, preferred when it goes on; empty for none. */
  readonly preferredVersion: string;
  readonly promptTokens: number;
}
