// Routing by a rule that others use, on the same information as ours: the same heartbeats with the
// same delay, the same membership, the same filter of edges that are full, excluded or not allowed.
import type { Heartbeat } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { EdgeId } from "../../../proto/ids.ts";
import type { MemberStatus } from "../../../region/membership/member.ts";
import type { RouteRequest } from "../../../region/route/route-request.ts";
import type { Random } from "../../../runtime/random.ts";
import { EdgeView } from "./edge-view.ts";
import type { ChosenEdge, LengthQuestion, SimDispatch, SimRouter } from "./sim-router.ts";

/** Takes one of the candidates, of which there is at least one; in the order of their names. */
export type PickEdge = (
  candidates: readonly EdgeView[],
  request: RouteRequest,
  random: Random,
) => EdgeView;

/** Expected of a completion when nobody measures. */
const EXPECTED_TOKENS = 128;

export class BaselineRouter implements SimRouter {
  readonly #region: string;
  readonly #pick: PickEdge;
  readonly #views = new Map<string, EdgeView>();
  #ordered: EdgeView[] = [];

  constructor(region: string, pick: PickEdge) {
    this.#region = region;
    this.#pick = pick;
  }

  beat(edge: EdgeId, heartbeat: Heartbeat): void {
    let view = this.#views.get(edge);
    if (view === undefined) {
      view = new EdgeView(this.#region, edge);
      this.#views.set(edge, view);
      this.#ordered = [...this.#views.values()].sort((a, b) => (a.edge < b.edge ? -1 : 1));
    }
    view.beat(heartbeat);
  }

  setStatus(edge: EdgeId, status: MemberStatus): void {
    const view = this.#views.get(edge);
    if (view !== undefined) view.status = status;
  }

  setRtt(): void {}

  remove(edge: EdgeId): void {
    this.#views.delete(edge);
    this.#ordered = this.#ordered.filter((view) => view.edge !== edge);
  }

  dispatched(edge: EdgeId, _model: string, request: RouteRequest): SimDispatch {
    const view = this.#views.get(edge);
    if (view !== undefined) {
      view.outstanding += 1;
      view.noteSent(request.blocks);
    }
    let isOpen = true;
    return {
      firstToken() {},
      ended() {
        if (isOpen && view !== undefined) view.outstanding -= 1;
        isOpen = false;
      },
    };
  }

  decide(
    request: RouteRequest,
    _nowMs: number,
    random: Random,
    excluded: ReadonlySet<string>,
  ): { readonly chosen: ChosenEdge | null } {
    const candidates = this.#ordered.filter(
      (view) =>
        view.status === "ready" &&
        view.hasReported &&
        !view.isFull &&
        !excluded.has(view.key) &&
        (!request.policy.gpuRequired || view.hasGpu),
    );
    if (candidates.length === 0) return { chosen: null };
    const { edge, key } = this.#pick(candidates, request, random);
    return { chosen: { edge, key, ttftMs: 0, totalMs: 0, interTokenP99Ms: 0 } };
  }

  summary(): null {
    return null;
  }

  ttftP95Ms(): null {
    return null;
  }

  expectedTokens({ maxTokens }: LengthQuestion): number {
    return maxTokens === 0 ? EXPECTED_TOKENS : Math.min(maxTokens, EXPECTED_TOKENS);
  }
}
