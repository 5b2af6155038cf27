// The region as one InferenceBackend: streams that survive their edge, over the router, over the
// trunks; what this region can't serve goes to another.
import { Fault } from "../../proto/fault.ts";
import type {
  GenerateRequest,
  ModelInfo,
  ScoreRequest,
} from "../../proto/gen/isthmus/v1/inference_pb.ts";
import { ModelStatus } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { RegionId } from "../../proto/ids.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Candidate, StreamView } from "../../runtime/continuation/candidate.ts";
import { createContinuation } from "../../runtime/continuation/continuation.ts";
import type { CallContext, InferenceBackend } from "../../runtime/inference/backend.ts";
import type { Log } from "../../runtime/log.ts";
import type { Metrics } from "../../runtime/metrics.ts";
import { promptBlocks } from "../../runtime/prefix/prompt-blocks.ts";
import type { Random } from "../../runtime/random.ts";
import type { Trunk } from "../../runtime/trunk/trunk.ts";
import type { EdgeRegistry } from "../membership/edge-registry.ts";
import { defaultMembershipBounds } from "../membership/membership.ts";
import { PrefixIndex } from "../route/prefix-index.ts";
import type { RouteRequest } from "../route/route-target.ts";
import { passedRegions } from "../spill/peer-choice.ts";
import type { PeerRegistry } from "../spill/peer-registry.ts";
import { boundedRetryAfter, type Placement, place } from "./placement.ts";
import { relayedFault } from "./relayed-fault.ts";
import { estimatedPromptTokens } from "./request-size.ts";
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
}

export interface Gateway extends InferenceBackend {
  /** Streams that have not ended. */
  readonly inFlight: number;
}

/** Edges and peers tried for one unary call. */
const UNARY_ATTEMPTS_MAX = 4;

export function createGateway(options: GatewayOptions): Gateway {
  const { region, edges, peers, clock, log, metrics, inFlightMax } = options;
  const moves = metrics.counter({
    name: "isthmus_stream_moves_total",
    help: "Streams that left an edge or a region before they were complete.",
    labels: ["cause"],
  });
  const spills = metrics.counter({
    name: "isthmus_spills_total",
    help: "Requests sent on to another region.",
    labels: ["peer"],
  });
  const prefixes = new PrefixIndex();
  const continuation = createContinuation({
    clock,
    pick: (excluded, stream) =>
      candidateAt(options, pickFor(options, prefixes, excluded, stream), spills),
    onMove: (key, fault) => {
      moves.inc({ cause: fault.code });
      log.info({ from: key, cause: fault.code, why: fault.message }, "a stream moves");
    },
  });
  leaveLostEdges(edges, (key, reason) => continuation.moveAway(key, reason));
  peers.onDown((key) => continuation.moveAway(key, "the trunk to the region is down"));

  return {
    get inFlight() {
      return continuation.active;
    },
    generate(request, context, onEvent) {
      if (continuation.active < inFlightMax) {
        return continuation.generate(request, context, onEvent);
      }
      const why = `${inFlightMax} streams are under way in region ${region}`;
      const retryAfterMs = boundedRetryAfter(shortestQueueMs(edges));
      return Promise.reject(new Fault("overloaded", why, { retryAfterMs }));
    },
    embed: (request, context) =>
      unary(options, routeOf(request.model, "", 0), context, (trunk, onward) =>
        trunk.embed(request, onward),
      ),
    score: (request, context) =>
      unary(options, scoreRoute(request), context, (trunk, onward) => trunk.score(request, onward)),
    listModels: (): ModelInfo[] => servedModels(edges, peers),
  };
}

function pickFor(
  options: GatewayOptions,
  prefixes: PrefixIndex,
  excluded: ReadonlySet<string>,
  { request, context }: StreamView,
): Placement {
  const passed = passedRegions(context.visitedRegions, options.region);
  const blocks = promptBlocks(request);
  const route = { ...generateRoute(request), cached: prefixes.cachedTokens(blocks) };
  const placement = place(options, route, passed, excluded);
  if (placement.kind === "edge") prefixes.sent(blocks, placement.edge);
  return placement;
}

function candidateAt(
  options: GatewayOptions,
  placement: Placement,
  spills: { inc(labels: { peer: string }): void },
): Candidate | Fault {
  if (placement.kind === "nowhere") return placement.fault;
  if (placement.kind === "peer") spills.inc({ peer: placement.peer.region });
  const { key } = placement.kind === "edge" ? placement : placement.peer;
  return {
    key,
    edge: placement.kind === "edge" ? placement.edge : "",
    region: placement.kind === "edge" ? options.region : placement.peer.region,
    generate: (request, context, onEvent) =>
      attempt(options, placement, request.model, context, (trunk, onward) =>
        trunk.generate(request, onward, onEvent),
      ),
  };
}

/** One try at one place, with its accounts: what is in flight there, and how it went. */
async function attempt<T>(
  { region, edges, peers, clock }: GatewayOptions,
  placement: Exclude<Placement, { kind: "nowhere" }>,
  model: string,
  context: CallContext,
  send: (trunk: Trunk, onward: CallContext) => Promise<T>,
): Promise<T> {
  const toEdge = placement.kind === "edge";
  const name = toEdge ? placement.edge : placement.peer.region;
  const trunk = toEdge ? edges.trunkOf(name) : peers.get(name)?.trunk;
  if (trunk === undefined) throw new Fault("link-lost", `${name} has just gone`);
  const { penalty } = toEdge ? edges : peers;
  const done = toEdge
    ? edges.ledger.begin(name, model)
    : peers.ledger.begin(placement.peer.target, model);
  const visitedRegions = passedRegions(context.visitedRegions, region);
  try {
    const result = await send(trunk, { ...context, visitedRegions });
    penalty.succeeded(name, clock.monotonicMs());
    return result;
  } catch (thrown) {
    const fault = relayedFault(thrown, context.signal);
    penalty.failed(name, fault.code, clock.monotonicMs());
    throw fault;
  } finally {
    done();
  }
}

/** A call without a stream: another place is tried while the fault allows it. */
async function unary<T>(
  options: GatewayOptions,
  route: RouteRequest,
  context: CallContext,
  send: (trunk: Trunk, onward: CallContext) => Promise<T>,
): Promise<T> {
  const passed = passedRegions(context.visitedRegions, options.region);
  const excluded = new Set<string>();
  let last: Fault | null = null;
  for (let tries = 0; tries < UNARY_ATTEMPTS_MAX; tries += 1) {
    const placement = place(options, { ...route, cached: new Map() }, passed, excluded);
    if (placement.kind === "nowhere") throw last ?? placement.fault;
    try {
      return await attempt(options, placement, route.model, context, send);
    } catch (thrown) {
      last = relayedFault(thrown, context.signal);
      if (!last.retriable) throw last;
      excluded.add(placement.kind === "edge" ? placement.key : placement.peer.key);
    }
  }
  throw last ?? new Fault("unavailable", `nothing in reach can serve ${route.model} now`);
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

function generateRoute(request: GenerateRequest): RouteRequest {
  const { model, version, resume } = request;
  const promptTokens = estimatedPromptTokens(request) + (resume?.ids.length ?? 0);
  return { model, version, preferredVersion: resume?.version ?? "", promptTokens };
}

function scoreRoute(request: ScoreRequest): RouteRequest {
  const tokens = estimatedPromptTokens(request) + request.ids.length;
  return routeOf(request.model, request.version, tokens);
}

function routeOf(model: string, version: string, promptTokens: number): RouteRequest {
  return { model, version, preferredVersion: "", promptTokens };
}

/** The least that waits anywhere, taken as what a refused caller would wait for. */
function shortestQueueMs(edges: EdgeRegistry): number {
  let leastMs = Infinity;
  for (const { heartbeat, status } of edges.members()) {
    if (status !== "ready") continue;
    for (const model of heartbeat.models) {
      // A version that is still on its way has no queue, and can't take a request either.
      if (model.status !== ModelStatus.READY) continue;
      const { queued, slots, remainingTokensMean, decodeTokensPerS } = model;
      const turnMs = (remainingTokensMean / Math.max(1, decodeTokensPerS)) * 1000;
      leastMs = Math.min(leastMs, ((queued + 1) * turnMs) / Math.max(1, slots));
    }
  }
  return Number.isFinite(leastMs) ? leastMs : 1000;
}
