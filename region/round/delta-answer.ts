// What an edge that hands in a delta is told.
import type { IncomingDelta } from "./incoming-delta.ts";
import type { Admission } from "./round-decision.ts";

export type DeltaStatus =
  | "receiving"
  | "included"
  /** A piece came before the manifest that says what it is. */
  | "manifest-first"
  /** The piece starts elsewhere than at `received`. */
  | "offset"
  /** A chunk arrived damaged; it is wanted again from `received` on. */
  | "bad-chunk"
  | Exclude<Admission, "welcome">;

export interface DeltaAnswer {
  readonly status: DeltaStatus;
  readonly reason: string;
  /** Bytes here, of the total that the manifest states. */
  readonly received: number;
  readonly total: number;
}

export const reasonOf: Record<Exclude<Admission, "welcome">, string> = {
  duplicate: "this delta was included before",
  late: "the round is over",
  conflict: "the edge's part in this round has ended in another way",
  quarantined: "an earlier delta of this edge was refused",
  "not-invited": "the edge was not invited to this round",
};

export function answer(status: DeltaStatus, reason: string, received = 0, total = 0): DeltaAnswer {
  return { status, reason, received, total };
}

export function receiving({ total }: IncomingDelta, received: number): DeltaAnswer {
  return answer("receiving", "", received, total);
}
