// Bugs that tests plant in the simulated shells, to see that the audits notice each of them.
import type { GenerateResponse } from "../../../proto/gen/isthmus/v1/inference_pb.ts";

export interface Sabotage {
  /** Between a stream and its caller: what arrives instead of an event. */
  readonly tamper?: (event: GenerateResponse) => readonly GenerateResponse[];
  /** Edges admit so many more than they have slots. */
  readonly extraSlots?: number;
  /** Gateways choose without looking at the request's policy. */
  readonly dropsPolicy?: boolean;
  /** Gateways don't say where a request has been. */
  readonly forgetsWay?: boolean;
  /** Edges never give a slot back when a caller goes away. */
  readonly keepsSlots?: boolean;
}
