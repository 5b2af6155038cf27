// What a request needs of the edge that is to serve it, as routing sees it.
import type { Policy } from "../../proto/gen/isthmus/v1/inference_pb.ts";

export type RoutePriority = "interactive" | "batch";

/** A Policy message is one. */
export type RoutePolicy = Readonly<
  Pick<Policy, "regions" | "jurisdictions" | "gpuRequired" | "hedge" | "msPerGram" | "msPerCost">
>;

export const anyPolicy: RoutePolicy = {
  regions: [],
  jurisdictions: [],
  gpuRequired: false,
  hedge: false,
  msPerGram: 0,
  msPerCost: 0,
};

export interface RouteRequest {
  readonly model: string;
  /** Only this version will do; empty for any. */
  readonly version: string;
  /** The version that began the stream, preferred when it goes on; empty for none. */
  readonly preferredVersion: string;
  readonly promptTokens: number;
  /** Completion tokens still to come, as far as one can tell: RouteTable.expectedTokens. */
  readonly expectedTokens: number;
  /** As runtime/prefix names the blocks of the prompt. */
  readonly blocks: readonly number[];
  /** Empty for none. */
  readonly sessionId: string;
  /** Empty for the common one. */
  readonly tenant: string;
  readonly priority: RoutePriority;
  readonly policy: RoutePolicy;
  /** By when the first token must be there, on the scale of `nowMs`; Infinity for whenever. */
  readonly deadlineMs: number;
}

/** A request with nothing special about it. */
export function plainRequest(model: string, promptTokens: number): RouteRequest {
  return {
    ...{ model, version: "", preferredVersion: "", promptTokens, expectedTokens: 1, blocks: [] },
    ...{ sessionId: "", tenant: "", priority: "interactive", policy: anyPolicy },
    deadlineMs: Infinity,
  };
}
