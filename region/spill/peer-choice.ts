// Which other region should serve a request, here or on the way there. Loops are impossible by
// construction: a request names the regions it has passed, never goes to one of them, and takes two
// hops at most.
import type { Policy } from "../../proto/gen/isthmus/v1/inference_pb.ts";
import { residencyRefusal } from "../../runtime/policy/residency.ts";
import type { Random } from "../../runtime/random.ts";
import {
  type AssumedPeerRates,
  assumedRates,
  type PeerModel,
  predictSpill,
  predictUntold,
  type SpillTerms,
  spillTotalMs,
} from "./spill-prediction.ts";

/** Regions that a request may leave; the third one must serve it or refuse. */
export const HOPS_MAX = 2;
/** Peers this close to the best are equal; one is taken at random, so that nobody herds. */
const NEAR_EQUAL = 1.1;
/** A request that could be served here goes elsewhere only if it then takes so much less ... */
export const SPILL_SHARE_MAX = 0.8;
/** ... and this much less. */
export const SPILL_GAIN_MIN_MS = 50;

/** One other region, by one way. */
export interface PeerView {
  /** The next gateway on the way; the target itself unless it is reached through another. */
  readonly region: string;
  /** Of the next gateway: `region/`. */
  readonly key: string;
  /** Where the request is meant to be served. The gateways on the way may know better by then. */
  readonly target: string;
  /** Whether the trunk to the next gateway is up. */
  readonly connected: boolean;
  /** To the target, the way through another region included. */
  readonly rttMs: number;
  readonly penaltyMs: number;
  /** Requests of this region there now that the target's last word doesn't count. */
  readonly sentSince: number;
  /** Legal regimes of the target, and of the next gateway; null when it has not said. */
  readonly jurisdictions: readonly string[] | null;
  readonly viaJurisdictions: readonly string[] | null;
  /** What it said lately about the model; null when it said that nothing there can serve it. */
  readonly model: PeerModel | "untold" | null;
}

export interface SpillRequest {
  readonly model: string;
  /** Only this version will do; empty for any. */
  readonly version: string;
  readonly promptTokens: number;
  readonly expectedTokens: number;
  readonly policy: SpillPolicy | undefined;
}

/** What of a request's policy a choice of region heeds; a Policy message is one. */
export type SpillPolicy = Readonly<Pick<Policy, "regions" | "jurisdictions" | "gpuRequired">>;

export interface PeerCandidate {
  readonly kind: "candidate";
  readonly peer: PeerView;
  readonly terms: SpillTerms;
  readonly totalMs: number;
}

export type PeerRejection =
  | "passed"
  | "hops"
  | "residency"
  | "link-down"
  | "model-absent"
  | "no-gpu"
  | "tried";

export type PeerAssessment =
  | PeerCandidate
  | {
      readonly kind: "rejected";
      readonly peer: PeerView;
      readonly rejection: PeerRejection;
      readonly reason: string;
    };

/** The regions a request will have passed once this one sends it on. */
export function passedRegions(visited: readonly string[], self: string): readonly string[] {
  return visited.includes(self) ? visited : [...visited, self];
}

/** Judges every peer, in the order given. */
export function assessPeers(
  peers: Iterable<PeerView>,
  request: SpillRequest,
  passed: readonly string[],
  excluded: ReadonlySet<string>,
): PeerAssessment[] {
  const all = [...peers];
  const told = all.map(({ model }) => model).filter((model) => model !== null);
  const assumed = assumedRates(told.filter((model) => model !== "untold"));
  return all.map((peer) => assessPeer(peer, request, passed, excluded, assumed));
}

/** The peer with the least predicted total, or one nearly as good at random; null for none. */
export function choosePeer(
  peers: Iterable<PeerView>,
  request: SpillRequest,
  passed: readonly string[],
  excluded: ReadonlySet<string>,
  random: Random,
): PeerCandidate | null {
  const candidates = assessPeers(peers, request, passed, excluded).filter(
    (assessment) => assessment.kind === "candidate",
  );
  const best = Math.min(...candidates.map((candidate) => candidate.totalMs));
  const near = candidates.filter((candidate) => candidate.totalMs <= best * NEAR_EQUAL);
  return near[Math.floor(random() * near.length)] ?? null;
}

/**
 * Whether a request that an edge of this region could serve should rather go to the peer. Never one
 * that another region has sent here: it would wander.
 */
export function spillPays(
  ownTotalMs: number,
  candidate: PeerCandidate,
  passed: readonly string[],
): boolean {
  if (passed.length > 1) return false;
  const { totalMs } = candidate;
  return totalMs <= ownTotalMs * SPILL_SHARE_MAX && totalMs <= ownTotalMs - SPILL_GAIN_MIN_MS;
}

function assessPeer(
  peer: PeerView,
  request: SpillRequest,
  passed: readonly string[],
  excluded: ReadonlySet<string>,
  assumed: AssumedPeerRates,
): PeerAssessment {
  const rejected = (rejection: PeerRejection, reason: string): PeerAssessment => {
    return { kind: "rejected", peer, rejection, reason };
  };
  const { region, target, model } = peer;
  if (passed.includes(target)) return rejected("passed", "the request has been there");
  if (passed.includes(region)) return rejected("passed", `the request has been in ${region}`);
  const hops = passed.length - 1 + (region === target ? 1 : 2);
  if (hops > HOPS_MAX) return rejected("hops", `it would take more than ${HOPS_MAX} hops`);
  // What a region has not said of itself, it hasn't got.
  const refusal = residencyRefusal(request.policy, target, peer.jurisdictions ?? []);
  if (refusal !== null) return rejected("residency", refusal);
  // A prompt goes nowhere, not even in passing, where its rules don't let it be served.
  const barred = residencyRefusal(request.policy, region, peer.viaJurisdictions ?? []);
  if (region !== target && barred !== null) {
    return rejected("link-down", `the trunk to it is not up, and on the way ${barred}`);
  }
  if (!peer.connected) return rejected("link-down", "the trunk to it is not up");
  if (model === null) return rejected("model-absent", "no edge there is ready with the model");
  if (request.policy?.gpuRequired && model !== "untold" && model.edgesWithGpu === 0) {
    return rejected("no-gpu", "no edge there has a GPU");
  }
  if (excluded.has(peer.key)) return rejected("tried", "it was tried for this request");
  const terms =
    model === "untold"
      ? predictUntold(request, peer, assumed)
      : predictSpill(model, request, peer, assumed);
  return { kind: "candidate", peer, terms, totalMs: spillTotalMs(terms) };
}
