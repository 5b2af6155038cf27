// What the simulated gateways ask of whoever chooses edges: the part of the real RouteTable that
// they use, so that other policies can stand in its place.
import type { FaultCode } from "../../../proto/fault.ts";
import type { Heartbeat } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { EdgeId } from "../../../proto/ids.ts";
import type { MemberStatus } from "../../../region/membership/member.ts";
import type { ModelSummary } from "../../../region/route/model-summary.ts";
import type { RouteRequest } from "../../../region/route/route-request.ts";
import type { Random } from "../../../runtime/random.ts";

export type SimOutcome =
  | {
      readonly kind: "finished";
      readonly ttftMs: number;
      readonly tokens: number;
      readonly tpotMs: number;
    }
  | { readonly kind: "fault"; readonly code: FaultCode }
  | { readonly kind: "cancelled" };

export interface SimDispatch {
  firstToken(nowMs: number): void;
  ended(nowMs: number, outcome: SimOutcome): void;
}

export interface ChosenEdge {
  readonly edge: string;
  readonly key: string;
  readonly ttftMs: number;
  readonly totalMs: number;
  readonly interTokenP99Ms: number;
}

export interface SimRouter {
  beat(edge: EdgeId, heartbeat: Heartbeat, nowMs: number): void;
  setStatus(edge: EdgeId, status: MemberStatus, reason: string): void;
  setRtt(edge: EdgeId, rttMs: number): void;
  remove(edge: EdgeId): void;
  dispatched(edge: EdgeId, model: string, request: RouteRequest, nowMs: number): SimDispatch;
  /** Excluded edges are named by key, `region/edge`. */
  decide(
    request: RouteRequest,
    nowMs: number,
    random: Random,
    excluded: ReadonlySet<string>,
  ): { readonly chosen: ChosenEdge | null };
  /** Completion tokens to expect of a request. */
  expectedTokens(query: LengthQuestion): number;
  /** What the other regions are told; null when it leaves that to the region. */
  summary(model: string, nowMs: number): ModelSummary | null;
  /** When a second edge is worth starting; null for not yet known. */
  ttftP95Ms(request: RouteRequest): number | null;
}

export interface LengthQuestion {
  readonly model: string;
  readonly tenant: string;
  readonly promptTokens: number;
  readonly maxTokens: number;
}

/** What an operator says of a region, and how much its gateway may remember. */
export interface RegionTraits {
  readonly jurisdictions: readonly string[];
  readonly gramsCo2PerKwh: number;
  readonly prefixBlocksMax: number;
}
