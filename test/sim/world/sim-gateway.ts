// Where a simulated gateway sends a request: the real routing of its region, the real choice of
// another, and the accounts of each try.
import { Fault } from "../../../proto/fault.ts";
import { edgeId } from "../../../proto/ids.ts";
import { relayedFault } from "../../../region/gateway/relayed-fault.ts";
import { anyPolicy, type RouteRequest } from "../../../region/route/route-request.ts";
import {
  choosePeer,
  type PeerCandidate,
  type PeerView,
  passedRegions,
  spillPays,
} from "../../../region/spill/peer-choice.ts";
import type { Candidate, StreamView } from "../../../runtime/continuation/candidate.ts";
import type { CallContext, OnEvent } from "../../../runtime/inference/backend.ts";
import { residencyRefusal } from "../../../runtime/policy/residency.ts";
import type { ChosenEdge, SimRouter } from "../policies/sim-router.ts";
import type { SimRequest } from "../workload/sim-request.ts";
import type { PeerBook } from "./peer-book.ts";
import type { SimRegionOptions } from "./sim-region.ts";
import type { SimTrunk } from "./sim-trunk.ts";

const RETRY_AFTER_MS = 500;

export class SimGateway {
  /** Tries at edges that are not over. */
  underway = 0;
  readonly #options: SimRegionOptions;
  readonly #router: SimRouter;
  readonly #trunks: ReadonlyMap<string, SimTrunk>;
  readonly #peers: PeerBook;

  constructor(
    options: SimRegionOptions,
    router: SimRouter,
    trunks: ReadonlyMap<string, SimTrunk>,
    peers: PeerBook,
  ) {
    this.#options = options;
    this.#router = router;
    this.#trunks = trunks;
    this.#peers = peers;
  }

  get #nowMs(): number {
    return this.#options.process.monotonicMs;
  }

  pick(excluded: ReadonlySet<string>, stream: StreamView): Candidate | Fault {
    const { name, jurisdictions, random, trace, weighsPeers, sabotage } = this.#options;
    const view = sabotage.dropsPolicy ? withoutPolicy(stream) : stream;
    const { context, request } = view;
    const nowMs = this.#nowMs;
    const sim = this.#options.requestOf({ request });
    const passed = passedRegions(context.visitedRegions, name);
    const route = this.#routeOf(view, sim, nowMs);
    const refusal = residencyRefusal(request.policy, name, jurisdictions);
    const chosen =
      refusal === null ? this.#router.decide(route, nowMs, random, excluded).chosen : null;
    trace
      .number(nowMs)
      .number(sim.id)
      .text(chosen?.key ?? "nowhere");
    const peer =
      chosen === null || (weighsPeers && passed.length === 1)
        ? this.#peerFor(view, route, passed, excluded)
        : null;
    const isBetterThere =
      peer !== null && (chosen === null || spillPays(chosen.totalMs, peer, passed));
    if (isBetterThere) {
      trace.text(peer.peer.key);
      return this.#atPeer(peer.peer, sim);
    }
    if (chosen !== null) return this.#atEdge(chosen, route);
    return new Fault("overloaded", refusal ?? "every edge is full", {
      retryAfterMs: RETRY_AFTER_MS,
    });
  }

  #routeOf(view: StreamView, sim: SimRequest, nowMs: number): RouteRequest {
    const { request, context, deliveredTokens } = view;
    const promptTokens = sim.promptTokens + deliveredTokens;
    const { model, version, sessionId, tenant, maxTokens, resume } = request;
    const leftMs = context.deadlineMs - this.#options.process.wallMs;
    return {
      ...{ model, version, promptTokens, sessionId, tenant, blocks: sim.blocks },
      preferredVersion: resume?.version ?? "",
      expectedTokens: this.#router.expectedTokens({ model, tenant, promptTokens, maxTokens }),
      priority: request.priority === 2 ? "batch" : "interactive",
      policy: request.policy ?? anyPolicy,
      deadlineMs: Number.isFinite(leftMs) ? nowMs + leftMs : Infinity,
    };
  }

  #peerFor(
    { request }: StreamView,
    route: RouteRequest,
    passed: readonly string[],
    excluded: ReadonlySet<string>,
  ): PeerCandidate | null {
    const { model, version, promptTokens, expectedTokens } = route;
    const wanted = { model, version, promptTokens, expectedTokens, policy: request.policy };
    const views = this.#peers.views(this.#nowMs, model);
    return choosePeer(views, wanted, passed, excluded, this.#options.random);
  }

  #atEdge(chosen: ChosenEdge, route: RouteRequest): Candidate {
    const edge = edgeId(chosen.edge);
    const { name } = this.#options;
    const hedgeAfterMs = route.policy.hedge ? this.#router.ttftP95Ms(route) : null;
    return {
      ...(hedgeAfterMs === null ? {} : { hedgeAfterMs }),
      key: chosen.key,
      edge,
      region: name,
      interTokenP99Ms: chosen.interTokenP99Ms,
      predictedTtftMs: chosen.ttftMs,
      generate: async (request, context, onEvent) => {
        const trunk = this.#trunks.get(edge);
        if (trunk === undefined) throw new Fault("link-lost", `${edge} has just gone`);
        const sentMs = this.#nowMs;
        const handle = this.#router.dispatched(edge, route.model, route, sentMs);
        this.underway += 1;
        const meter = { firstMs: 0, tokens: 0 };
        try {
          const visitedRegions = passedRegions(context.visitedRegions, name);
          await trunk.generate(request, { ...context, visitedRegions }, (event) => {
            if (event.event.case === "tokens") {
              meter.tokens += event.event.value.ids.length;
              if (meter.firstMs === 0) {
                meter.firstMs = this.#nowMs;
                handle.firstToken(meter.firstMs);
              }
            }
            onEvent(event);
          });
          const endMs = this.#nowMs;
          const { firstMs, tokens } = meter;
          const tpotMs = tokens > 1 ? (endMs - firstMs) / (tokens - 1) : 0;
          handle.ended(endMs, { kind: "finished", ttftMs: firstMs - sentMs, tokens, tpotMs });
        } catch (thrown) {
          const fault = relayedFault(thrown, context.signal);
          const { code } = fault;
          const isCancelled = code === "cancelled";
          handle.ended(this.#nowMs, isCancelled ? { kind: "cancelled" } : { kind: "fault", code });
          throw fault;
        } finally {
          this.underway -= 1;
        }
      },
    };
  }

  #atPeer(peer: PeerView, sim: SimRequest): Candidate {
    const { name, onSpill, sabotage } = this.#options;
    return {
      key: peer.key,
      edge: "",
      region: peer.region,
      generate: async (request, context: CallContext, onEvent: OnEvent) => {
        const trunk = this.#peers.trunkOf(peer.region);
        if (trunk === undefined) throw new Fault("link-lost", `${peer.region} has just gone`);
        onSpill(name, peer.region, sim);
        const done = this.#peers.ledger.begin(peer.region, request.model);
        const visitedRegions = passedRegions(context.visitedRegions, name);
        const onward = sabotage.forgetsWay ? context : { ...context, visitedRegions };
        try {
          await trunk.generate(request, onward, onEvent);
        } catch (thrown) {
          const fault = relayedFault(thrown, context.signal);
          this.#peers.penalty.failed(peer.region, fault.code, this.#nowMs);
          throw fault;
        } finally {
          done();
        }
      },
    };
  }
}

function withoutPolicy(view: StreamView): StreamView {
  const { policy: _, ...request } = view.request;
  return { ...view, request };
}
