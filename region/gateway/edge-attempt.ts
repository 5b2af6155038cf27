// One try at one place, with its accounts: what is in flight there, how soon it spoke, how it went.
import { Fault } from "../../proto/fault.ts";
import type { GenerateRequest } from "../../proto/gen/isthmus/v1/inference_pb.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { CallContext, OnEvent } from "../../runtime/inference/backend.ts";
import type { Trunk } from "../../runtime/trunk/trunk.ts";
import type { EdgeRegistry } from "../membership/edge-registry.ts";
import type { DispatchHandle, DispatchOutcome } from "../route/decision.ts";
import type { RouteRequest } from "../route/route-request.ts";
import { passedRegions } from "../spill/peer-choice.ts";
import type { PeerRegistry } from "../spill/peer-registry.ts";
import type { Placement } from "./placement.ts";
import { relayedFault } from "./relayed-fault.ts";

export interface AttemptOptions {
  readonly region: string;
  readonly edges: EdgeRegistry;
  readonly peers: PeerRegistry;
  readonly clock: Clock;
}

export type Place = Exclude<Placement, { kind: "nowhere" }>;

export async function generateAt(
  options: AttemptOptions,
  place: Place,
  route: RouteRequest,
  request: GenerateRequest,
  context: CallContext,
  onEvent: OnEvent,
): Promise<void> {
  const { clock } = options;
  const stopwatch = new Stopwatch(clock);
  const sent = place.kind === "edge" ? request : forPeer(options, route, request);
  await attempt(options, place, route, context, stopwatch, (trunk, onward, dispatch) =>
    trunk.generate(sent, onward, (event) => {
      const { case: kind, value } = event.event;
      if (kind === "tokens" && stopwatch.token(value.ids.length)) {
        dispatch.firstToken(clock.monotonicMs());
      }
      if (kind === "finished") stopwatch.tokens = value.completionTokens;
      onEvent(event);
    }),
  );
}

/**
 * The first region on the way that may keep a session does so, and has put the conversation into
 * the request; to those after it, it is a request like any other.
 */
function forPeer(
  { edges }: AttemptOptions,
  { policy }: RouteRequest,
  request: GenerateRequest,
): GenerateRequest {
  const isKeptHere = edges.table.residencyRefusal(policy) === null;
  return isKeptHere && request.sessionId !== "" ? { ...request, sessionId: "" } : request;
}

/** A call without a stream. */
export function callAt<T>(
  options: AttemptOptions,
  place: Place,
  route: RouteRequest,
  context: CallContext,
  send: (trunk: Trunk, onward: CallContext) => Promise<T>,
): Promise<T> {
  return attempt(options, place, route, context, null, send);
}

async function attempt<T>(
  options: AttemptOptions,
  place: Place,
  route: RouteRequest,
  context: CallContext,
  stopwatch: Stopwatch | null,
  send: (trunk: Trunk, onward: CallContext, dispatch: DispatchHandle) => Promise<T>,
): Promise<T> {
  const { region, edges, peers, clock } = options;
  const { trunk, dispatch } =
    place.kind === "edge"
      ? towardsEdge(edges, place.prediction.edge, route, clock)
      : towardsPeer(peers, place.spill.peer, route.model);
  const visitedRegions = passedRegions(context.visitedRegions, region);
  try {
    const result = await send(trunk, { ...context, visitedRegions }, dispatch);
    dispatch.ended(clock.monotonicMs(), stopwatch?.outcome() ?? { kind: "answered" });
    return result;
  } catch (thrown) {
    const fault = relayedFault(thrown, context.signal);
    dispatch.ended(clock.monotonicMs(), outcomeOf(fault, context.signal));
    throw fault;
  }
}

function towardsEdge(edges: EdgeRegistry, edge: string, route: RouteRequest, clock: Clock) {
  const trunk = edges.trunkOf(edge);
  if (trunk === undefined) throw new Fault("link-lost", `${edge} has just gone`);
  const dispatch = edges.table.dispatched(edge, route.model, route, clock.monotonicMs());
  return { trunk, dispatch };
}

function towardsPeer(
  peers: PeerRegistry,
  { region, target }: { readonly region: string; readonly target: string },
  model: string,
) {
  const trunk = peers.get(region)?.trunk;
  if (trunk === undefined) throw new Fault("link-lost", `${region} has just gone`);
  const done = peers.ledger.begin(target, model);
  const dispatch: DispatchHandle = {
    firstToken: () => {},
    ended(nowMs, outcome) {
      done();
      if (outcome.kind === "fault") peers.penalty.failed(region, outcome.code, nowMs);
      else if (outcome.kind !== "cancelled") peers.penalty.succeeded(region, nowMs);
    },
  };
  return { trunk, dispatch };
}

/** A source that was left for its silence has failed; one that lost a race has not. */
function outcomeOf(fault: Fault, { aborted, reason }: AbortSignal): DispatchOutcome {
  if (!aborted) return { kind: "fault", code: fault.code };
  return reason instanceof Fault ? { kind: "fault", code: reason.code } : { kind: "cancelled" };
}

class Stopwatch {
  readonly #clock: Clock;
  readonly #beganMs: number;
  #firstMs = 0;
  #lastMs = 0;
  #received = 0;
  /** Of the whole completion, once it has finished. */
  tokens = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#beganMs = clock.monotonicMs();
  }

  /** Notes tokens that came. True when they are the first. */
  token(count: number): boolean {
    if (count === 0) return false;
    this.#lastMs = this.#clock.monotonicMs();
    if (this.#received === 0) this.#firstMs = this.#lastMs;
    this.#received += count;
    return this.#received === count;
  }

  outcome(): DispatchOutcome {
    if (this.#received === 0) return { kind: "answered" };
    const tpotMs = this.#received > 1 ? (this.#lastMs - this.#firstMs) / (this.#received - 1) : 0;
    const ttftMs = this.#firstMs - this.#beganMs;
    return { kind: "finished", ttftMs, tokens: this.tokens, tpotMs };
  }
}
