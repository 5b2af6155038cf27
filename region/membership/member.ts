// One edge as its region knows it.
import type { Heartbeat } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { EdgeId } from "../../proto/ids.ts";
import type { TrunkState } from "../../runtime/trunk/trunk.ts";

/**
 * ready: gets work. suspect: silent or not connected, gets none. dead: silent for long. draining
 * and leaving: said so itself; a leaving edge is about to end.
 */
export type MemberStatus = "ready" | "suspect" | "dead" | "draining" | "leaving";

/** What the trunk says about an edge. */
export interface TrunkSight {
  readonly state: TrunkState;
  readonly rttMs: number;
  readonly silentMs: number;
}

export interface Member {
  readonly edge: EdgeId;
  /** The newest accepted heartbeat; its incarnation and sequence guard against older ones. */
  readonly heartbeat: Heartbeat;
  /** When it came, on the monotonic clock. */
  readonly beatMs: number;
  readonly trunk: TrunkSight;
  readonly status: MemberStatus;
  /** Why it isn't ready; empty when it is. */
  readonly reason: string;
  /** Since when it has had its status. */
  readonly sinceMs: number;
  /** When the passing of time must be weighed again. */
  readonly checkMs: number;
}
