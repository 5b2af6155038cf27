// The region as one InferenceBackend: streams that survive their edge, over the router, over the
// trunks; what this region can't serve goes to another.
import { Fault } from "../../proto/fault.ts";
import type { ModelInfo, Policy } from "../../proto/gen/isthmus/v1/inference_pb.ts";
import type { RegionId } from "../../proto/ids.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Candidate, StreamView } from "../../runtime/continuation/candidate.ts";
import { createContinuation } from "../../runtime/continuation/continuation.ts";
import type { CallContext, InferenceBackend } from "../../runtime/inference/backend.ts";
import type { Log } from "../../runtime/log.ts";
import type { Metrics } from "../../runtime/metrics.ts";
import { type PolicyBook, policyFor } from "../../runtime/policy/policy-defaults.ts";
import type { Random } from "../../runtime/random.ts";
import type { Trunk } from "../../runtime/trunk/trunk.ts";
import type { EdgeRegistry } from "../membership/edge-registry.ts";
import { defaultMembershipBounds } from "../membership/membership.ts";
import type { RouteRequest } from "../route/route-request.ts";
import { passedRegions } from "../spill/peer-choice.ts";
import type { PeerRegistry } from "../spill/peer-registry.ts";
import { countDemand, type GatewayScaling, whenAwake } from "./cold-requests.ts";
import { callAt, generateAt, type Place } from "./edge-attempt.ts";
import { boundedRetryAfter, place } from "./placement.ts";
import { relayedFault } from "./relayed-fault.ts";
import { embedRoute, generateRoute, scoreRoute } from "./route-requests.ts";
import { servedModels } from "./served-models.ts";

export interface GatewayOptions {
  readonly region: RegionId;
  readonly edges: EdgeRegistry;
  readonly peers: PeerRegistry;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Metrics;
  /** Streams at once; beyond it callers are told to come back. */
  readonly inFlightMax: number;
  /** What the operator has set for everybody, for tenants and for models. */
  readonly policies?: PolicyBook;
  /** Keeps requests for models that are asleep, and counts what is asked. */
  readonly scaling?: GatewayScaling;
}

export interface Gateway extends InferenceBackend {
  /** Streams that have not ended. */
  readonly inFlight: number;
}

/** Edges and peers tried for one unary call. */
const UNARY_ATTEMPTS_MAX = 4;
/** Where no queue is known. */
const RETRY_AFTER_DEFAULT_MS = 1000;
/** A first token this many times later than predicted is late, where no tail is known yet. */
const UNKNOWN_TAIL_FACTOR = 3;

export function createGateway(options: GatewayOptions): Gateway {
  const { region, edges, peers, clock, log, metrics, inFlightMax, policies } = options;
  const moves = metrics.counter({
    name: "isthmus_stream_moves_total",
    help: "Streams that left an edge or a region before they were complete.",
    labels: ["cause"],
  });
  const hedges = metrics.counter({
    name: "isthmus_hedges_total",
    help: "Second sources started because the first was late with its first token.",
  });
  const spills = metrics.counter({
    name: "isthmus_spills_total",
    help: "Requests sent on to another region.",
    labels: ["peer"],
  });
  const continuation = createContinuation({
    clock,
    pick: (excluded, stream) => pickFor(options, excluded, stream, spills),
    onMove: (key, fault) => {
      moves.inc({ cause: fault.code });
      log.info({ from: key, cause: fault.code, why: fault.message }, "a stream moves");
    },
    onHedge: (key) => {
      hedges.inc();
      log.debug({ late: key }, "a second source is started");
    },
  });
  leaveLostEdges(edges, (key, reason) => continuation.moveAway(key, reason));
  peers.onDown((key) => continuation.moveAway(key, "the trunk to the region is down"));

  return {
    get inFlight() {
      return continuation.active;
    },
    async generate(request, context, onEvent) {
      if (continuation.active >= inFlightMax) {
        const best = edges.table.summary(request.model, clock.monotonicMs())?.best;
        const queueMs = best?.queueMs ?? RETRY_AFTER_DEFAULT_MS;
        const why = `${inFlightMax} streams are under way in region ${region}`;
        const retryAfterMs = boundedRetryAfter(queueMs);
        throw new Fault("overloaded", why, { retryAfterMs });
      }
      const own = ruled(request, policies);
      const route = () => generateRoute(own, context, edges.table, clock);
      await whenAwake(options, own, context, route, () =>
        continuation.generate(own, context, onEvent),
      );
    },
    async embed(request, context) {
      const own = ruled(request, policies);
      return await unary(options, embedRoute(own), context, (trunk, on) => trunk.embed(own, on));
    },
    async score(request, context) {
      const own = ruled(request, policies);
      return await unary(options, scoreRoute(own), context, (trunk, on) => trunk.score(own, on));
    },
    listModels: (): ModelInfo[] => servedModels(edges, peers),
  };
}

function pickFor(
  options: GatewayOptions,
  excluded: ReadonlySet<string>,
  { request, context, attempts }: StreamView,
  spills: { inc(labels: { peer: string }): void },
): Candidate | Fault {
  const { region, edges, clock } = options;
  const passed = passedRegions(context.visitedRegions, region);
  const route = generateRoute(request, context, edges.table, clock);
  const nowMs = clock.monotonicMs();
  const placement = place({ ...options, nowMs }, route, passed, excluded);
  if (attempts === 0) countDemand(options, route, passed, placement);
  if (placement.kind === "nowhere") return placement.fault;
  if (placement.kind === "peer") spills.inc({ peer: placement.spill.peer.region });
  return {
    ...sourceOf(options, placement, route),
    generate: (onward, onwardContext, onEvent) =>
      generateAt(options, placement, route, onward, onwardContext, onEvent),
  };
}

/** Who the candidate is, and what is expected of it. */
function sourceOf(
  { region, edges }: GatewayOptions,
  placement: Place,
  route: RouteRequest,
): Omit<Candidate, "generate"> {
  if (placement.kind === "peer") {
    const { peer, terms } = placement.spill;
    const predictedTtftMs = terms.rttMs + terms.queueMs + terms.prefillMs;
    return { key: peer.key, edge: "", region: peer.region, predictedTtftMs };
  }
  const { key, edge, ttftMs, interTokenP99Ms } = placement.prediction;
  const tailMs = edges.table.ttftP95Ms(route) ?? ttftMs * UNKNOWN_TAIL_FACTOR;
  return {
    ...{ key, edge, region, predictedTtftMs: ttftMs },
    ...(interTokenP99Ms > 0 ? { interTokenP99Ms } : {}),
    ...(route.policy.hedge ? { hedgeAfterMs: tailMs } : {}),
  };
}

/** A call without a stream: another place is tried while the fault allows it. */
function unary<T>(
  options: GatewayOptions,
  route: RouteRequest,
  context: CallContext,
  send: (trunk: Trunk, onward: CallContext) => Promise<T>,
): Promise<T> {
  const work = () => trySeveral(options, route, context, send);
  return whenAwake(options, route, context, () => route, work);
}

async function trySeveral<T>(
  options: GatewayOptions,
  route: RouteRequest,
  context: CallContext,
  send: (trunk: Trunk, onward: CallContext) => Promise<T>,
): Promise<T> {
  const passed = passedRegions(context.visitedRegions, options.region);
  const excluded = new Set<string>();
  let last: Fault | null = null;
  for (let tries = 0; tries < UNARY_ATTEMPTS_MAX; tries += 1) {
    const nowMs = options.clock.monotonicMs();
    const placement = place({ ...options, nowMs }, route, passed, excluded);
    if (tries === 0) countDemand(options, route, passed, placement);
    if (placement.kind === "nowhere") throw last ?? placement.fault;
    try {
      return await callAt(options, placement, route, context, send);
    } catch (thrown) {
      last = relayedFault(thrown, context.signal);
      if (!last.retriable) throw last;
      excluded.add(placement.kind === "edge" ? placement.prediction.key : placement.spill.peer.key);
    }
  }
  throw last ?? new Fault("unavailable", `nothing in reach can serve ${route.model} now`);
}

/** The request with the policy that holds for it. */
function ruled<
  T extends { readonly model: string; readonly tenant: string; policy?: Policy | undefined },
>(request: T, policies: PolicyBook | undefined): T {
  return policies === undefined ? request : { ...request, policy: policyFor(request, policies) };
}

/** Streams leave an edge whose trunk no longer answers, before the trunk itself gives it up. */
function leaveLostEdges(edges: EdgeRegistry, leave: (key: string, reason: string) => void): void {
  edges.onChange((change) => {
    if (change.kind === "joined") return;
    const { edge, status, reason, trunk } = change.member;
    const silent = trunk.silentMs > defaultMembershipBounds.trunkSilentMs;
    const lost = change.kind !== "status" || status === "dead" || trunk.state !== "up" || silent;
    if (lost) leave(edges.keyOf(edge), reason === "" ? `the edge was ${change.kind}` : reason);
  });
}
