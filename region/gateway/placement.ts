// Where one request goes next: the best edge of this region, else a peer region, else the fault
// that says why nowhere.
import { Fault } from "../../proto/fault.ts";
import type { Random } from "../../runtime/random.ts";
import type { EdgeRegistry } from "../membership/edge-registry.ts";
import type { RouteRequest } from "../route/route-target.ts";
import { type Assessment, decide } from "../route/router.ts";
import { choosePeer, type PeerView } from "../spill/peer-choice.ts";
import type { PeerRegistry } from "../spill/peer-registry.ts";

export type Placement =
  | { readonly kind: "edge"; readonly edge: string; readonly key: string }
  | { readonly kind: "peer"; readonly peer: PeerView }
  | { readonly kind: "nowhere"; readonly fault: Fault };

export interface PlacedRequest extends RouteRequest {
  /** Tokens of the prompt that each edge is thought to hold already. */
  readonly cached: ReadonlyMap<string, number>;
}

export interface PlacementInputs {
  readonly edges: EdgeRegistry;
  readonly peers: PeerRegistry;
  readonly random: Random;
}

/** Callers are told to come back no sooner and no later than this. */
const RETRY_AFTER_MIN_MS = 100;
const RETRY_AFTER_MAX_MS = 30_000;

export function place(
  { edges, peers, random }: PlacementInputs,
  request: PlacedRequest,
  passed: readonly string[],
  excluded: ReadonlySet<string>,
): Placement {
  const targets = edges.targets(request.model, request.cached);
  const { chosen, assessments } = decide(targets, request, excluded, random);
  if (chosen !== null) {
    const { edge, key } = chosen.target;
    return { kind: "edge", edge, key };
  }
  const spilled = { ...request, expectedTokens: 1, policy: undefined };
  const spill = choosePeer(peers.views(request.model), spilled, passed, excluded, random);
  if (spill !== null) return { kind: "peer", peer: spill.peer };
  return { kind: "nowhere", fault: whyNowhere(request, assessments, peers) };
}

function whyNowhere(
  { model, version }: RouteRequest,
  assessments: readonly Assessment[],
  peers: PeerRegistry,
): Fault {
  const rejected = assessments.filter((assessment) => assessment.kind === "rejected");
  const full = rejected.filter(({ rejection }) => rejection === "full");
  if (full.length > 0) {
    const waitMs = Math.min(...full.map(({ queueMs }) => queueMs));
    const retryAfterMs = boundedRetryAfter(waitMs);
    return new Fault("overloaded", `every edge with ${model} is full`, { retryAfterMs });
  }
  const holders = rejected.filter(({ rejection }) => rejection !== "model-absent");
  if (holders.length > 0) {
    const other = holders.every(({ rejection }) => rejection === "other-version");
    if (other && version !== "") {
      return new Fault("model-not-found", `no edge serves ${version}`, { param: "version" });
    }
    const reasons = [...new Set(holders.map(({ reason }) => reason))].slice(0, 3).join("; ");
    return new Fault("unavailable", `no edge can serve ${model} now: ${reasons}`);
  }
  const elsewhere = [...peers.models()].some((known) => known.model === model);
  // A region that knows no edge at all can't say that a model doesn't exist.
  if (elsewhere || assessments.length === 0 || peers.anyUntold) {
    return new Fault("unavailable", `nothing in reach can serve ${model} now`);
  }
  return new Fault("model-not-found", `the model ${model} is not served here`, { param: "model" });
}

export function boundedRetryAfter(waitMs: number): number {
  return Math.round(Math.min(Math.max(waitMs, RETRY_AFTER_MIN_MS), RETRY_AFTER_MAX_MS));
}
