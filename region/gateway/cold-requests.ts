// The calls of a gateway as scaling sees them: which of them may wait for an edge to come up and
// when one can go on, and what each says of demand. One that another region sent here never waits:
// the region that its caller reached still has every other to choose from.
import type { Fault } from "../../proto/fault.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { CallContext } from "../../runtime/inference/backend.ts";
import type { RouteRequest } from "../route/route-request.ts";
import type { ColdRequest } from "../scaling/cold-desk.ts";
import type { RegionScaling } from "../scaling/region-scaling.ts";
import { passedRegions } from "../spill/peer-choice.ts";
import { choosePlace, type Placement, type PlacementInputs } from "./placement.ts";

/** What a gateway needs of scaling. */
export type GatewayScaling = Pick<RegionScaling, "cold" | "demand" | "isWanted">;

export interface ScaledGateway extends Omit<PlacementInputs, "nowMs"> {
  readonly region: string;
  readonly clock: Clock;
  readonly scaling?: GatewayScaling;
}

const nothingTried: ReadonlySet<string> = new Set();
/** Beside a request's own text. */
const BYTES_MIN = 512;
const BYTES_PER_TOKEN = 4;

/** Runs `work`, once an edge can do it. `routeOf` is how it would be routed now. */
export function whenAwake<T>(
  gateway: ScaledGateway,
  { model }: Pick<RouteRequest, "model">,
  context: CallContext,
  routeOf: () => RouteRequest,
  work: () => Promise<T>,
): Promise<T> {
  const { scaling } = gateway;
  if (scaling === undefined) return work();
  return scaling.cold.pass(model, () => coldRequest(gateway, scaling, context, routeOf), work);
}

/** Counts where a request goes at its first try; what others sent here is their demand as well. */
export function countDemand(
  { scaling, clock }: ScaledGateway,
  { model }: RouteRequest,
  passed: readonly string[],
  placement: Placement,
): void {
  if (scaling === undefined) return;
  const { demand } = scaling;
  if (placement.kind === "edge") {
    const { ttftMs, terms } = placement.prediction;
    demand.routed(model, { ttftMs, waitMs: terms.queueMs + terms.loadMs }, clock.monotonicMs());
    return;
  }
  const isFull = placement.kind === "nowhere" && placement.fault.code === "overloaded";
  const isSpilled = placement.kind === "peer" && passed.length === 1;
  if ((isFull || isSpilled) && scaling.isWanted(model)) demand.turnedAway(model);
}

function coldRequest(
  gateway: ScaledGateway,
  scaling: GatewayScaling,
  context: CallContext,
  routeOf: () => RouteRequest,
): ColdRequest {
  const { region, edges, clock } = gateway;
  const { model, priority, promptTokens, policy } = routeOf();
  const passed = passedRegions(context.visitedRegions, region);
  const nowMs = () => clock.monotonicMs();
  const isAllowed = edges.table.residencyRefusal(policy) === null;
  return {
    ...{ model, priority, bytes: BYTES_MIN + promptTokens * BYTES_PER_TOKEN },
    deadlineMs: context.deadlineMs,
    signal: context.signal,
    mayWait: context.visitedRegions.length === 0 && isAllowed && scaling.isWanted(model),
    isCold: (fault) =>
      isForWant(fault) && (edges.table.summary(model, nowMs())?.edgesReady ?? 0) === 0,
    canGo: () =>
      choosePlace({ ...gateway, nowMs: nowMs() }, routeOf(), passed, nothingTried) !== null,
  };
}

/** That nothing serves it, and nothing of it has been served. */
function isForWant({ code, stage }: Fault): boolean {
  if (stage === "interrupted") return false;
  return code === "unavailable" || code === "model-absent" || code === "model-not-found";
}
