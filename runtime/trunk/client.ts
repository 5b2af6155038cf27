// Opens a trunk to a peer: one to four lanes, each request on the least busy one that is up.
import { Fault } from "../../proto/fault.ts";
import { Inference } from "../../proto/gen/isthmus/v1/inference_pb.ts";
import type { Clock } from "../clock.ts";
import { createClient, type ServiceClient } from "../grpc/bridge.ts";
import type { CallContext } from "../inference/backend.ts";
import type { Log } from "../log.ts";
import { type Random, systemRandom } from "../random.ts";
import { STREAMS_MAX, TICK_MS } from "./bounds.ts";
import type { Trunk, TrunkState } from "./trunk.ts";
import { type TrunkHello, TrunkLane } from "./trunk-lane.ts";
import { visitedMetadata } from "./visited-metadata.ts";

export interface TrunkOptions {
  /** host:port of the peer's gRPC server. */
  readonly address: string;
  readonly hello: TrunkHello;
  readonly clock: Clock;
  readonly log: Log;
  /** Parallel lanes, 1 to 4. One carries an edge; more help where the round trip is long. */
  readonly streams?: number;
  readonly random?: Random;
}

export function createTrunk(options: TrunkOptions): Trunk {
  const { address, hello, clock, log } = options;
  const streams = options.streams ?? 1;
  if (!Number.isInteger(streams) || streams < 1 || streams > STREAMS_MAX) {
    throw new RangeError(`a trunk has 1 to ${STREAMS_MAX} streams, not ${streams}`);
  }
  const listeners = new Set<(state: TrunkState) => void>();
  let state: TrunkState = "connecting";
  const lanes: TrunkLane[] = [];
  const onLaneState = (_: TrunkState, why: string) => {
    const next = stateOf(lanes);
    if (next === state) return;
    log.info({ address, state: next, why }, "trunk");
    state = next;
    for (const listener of [...listeners]) listener(next);
  };
  const random = options.random ?? systemRandom;
  for (let i = 0; i < streams; i += 1) {
    lanes.push(new TrunkLane({ address, hello, clock, random, onState: onLaneState }));
  }
  return {
    address,
    get state() {
      return state;
    },
    get rttMs() {
      return Math.min(...upLanes(lanes).map((lane) => lane.rttMs), lanes[0]?.rttMs ?? 0);
    },
    get silentMs() {
      return Math.min(...lanes.map((lane) => lane.silentTicks)) * TICK_MS;
    },
    get inFlight() {
      return lanes.reduce((sum, lane) => sum + lane.inFlight, 0);
    },
    generate(request, context, onEvent) {
      const lane = leastBusy(lanes);
      if (lane === null) return Promise.reject(notUp(address, state));
      if (context.signal.aborted) return Promise.reject(new Fault("cancelled", "aborted before"));
      return lane.generate(request, context, onEvent);
    },
    embed: (request, context) =>
      unary(lanes, address, context, (client, call) => client.embed(request, call)),
    score: (request, context) =>
      unary(lanes, address, context, (client, call) => client.score(request, call)),
    onState(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    close() {
      listeners.clear();
      for (const lane of lanes) lane.close();
      state = "down";
    },
  };
}

/** A unary call beside the streams, given up at once when the connection is lost. */
async function unary<T>(
  lanes: readonly TrunkLane[],
  address: string,
  context: CallContext,
  send: (
    client: ServiceClient<typeof Inference>,
    call: Parameters<ServiceClient<typeof Inference>["embed"]>[1],
  ) => Promise<T>,
): Promise<T> {
  const link = leastBusy(lanes)?.link ?? null;
  if (link === null) throw notUp(address, stateOf(lanes));
  const { deadlineMs, visitedRegions } = context;
  const signal = AbortSignal.any([context.signal, link.lost]);
  const metadata = visitedMetadata(visitedRegions);
  try {
    return await send(createClient(Inference, link.channel), { signal, deadlineMs, metadata });
  } catch (thrown) {
    if (!link.lost.aborted || context.signal.aborted) throw thrown;
    throw new Fault("link-lost", `the link to ${address} was lost`, { cause: thrown });
  }
}

function stateOf(lanes: readonly TrunkLane[]): TrunkState {
  if (lanes.some((lane) => lane.state === "up")) return "up";
  return lanes.every((lane) => lane.state === "connecting") ? "connecting" : "down";
}

function upLanes(lanes: readonly TrunkLane[]): readonly TrunkLane[] {
  return lanes.filter((lane) => lane.state === "up");
}

function leastBusy(lanes: readonly TrunkLane[]): TrunkLane | null {
  let best: TrunkLane | null = null;
  for (const lane of lanes) {
    if (lane.state === "up" && (best === null || lane.inFlight < best.inFlight)) best = lane;
  }
  return best;
}

function notUp(address: string, state: TrunkState): Fault {
  return new Fault("link-lost", `the trunk to ${address} is ${state}`);
}
