// Where one request goes next: the best edge of this region, or a peer region that is predicted to
// be clearly better, else the fault that says why nowhere.
import { Fault } from "../../proto/fault.ts";
import type { Random } from "../../runtime/random.ts";
import type { EdgeRegistry } from "../membership/edge-registry.ts";
import type { Assessment, Rejection, RoutePrediction } from "../route/decision.ts";
import type { RouteRequest } from "../route/route-request.ts";
import { choosePeer, type PeerCandidate, spillPays } from "../spill/peer-choice.ts";
import type { PeerRegistry } from "../spill/peer-registry.ts";
import { impossibleRule } from "./impossible-rule.ts";

export type Placement =
  | { readonly kind: "edge"; readonly prediction: RoutePrediction }
  | { readonly kind: "peer"; readonly spill: PeerCandidate }
  | { readonly kind: "nowhere"; readonly fault: Fault };

export interface PlacementInputs {
  readonly edges: EdgeRegistry;
  readonly peers: PeerRegistry;
  readonly random: Random;
  readonly nowMs: number;
}

type Rejected = Extract<Assessment, { kind: "rejected" }>;

/** Callers are told to come back no sooner and no later than this. */
const RETRY_AFTER_MIN_MS = 100;
const RETRY_AFTER_MAX_MS = 30_000;
const REASONS_TOLD_MAX = 3;

export function place(
  inputs: PlacementInputs,
  request: RouteRequest,
  passed: readonly string[],
  excluded: ReadonlySet<string>,
): Placement {
  const chosen = choosePlace(inputs, request, passed, excluded);
  return chosen ?? { kind: "nowhere", fault: whyNowhere(inputs, request, excluded) };
}

/** Where it goes; null for nowhere. */
export function choosePlace(
  inputs: PlacementInputs,
  request: RouteRequest,
  passed: readonly string[],
  excluded: ReadonlySet<string>,
): Exclude<Placement, { kind: "nowhere" }> | null {
  const { edges, peers, random, nowMs } = inputs;
  const { chosen } = edges.table.decide(request, nowMs, random, excluded);
  const views = peers.views(request.model);
  const spill = choosePeer(views, request, passed, excluded, random);
  if (chosen === null) return spill === null ? null : { kind: "peer", spill };
  if (spill !== null && spillPays(chosen.totalMs, spill, passed)) return { kind: "peer", spill };
  return { kind: "edge", prediction: chosen };
}

function whyNowhere(
  inputs: PlacementInputs,
  request: RouteRequest,
  excluded: ReadonlySet<string>,
): Fault {
  const { edges, peers, nowMs } = inputs;
  const { model, version } = request;
  const assessments = edges.table.explain(request, nowMs, excluded);
  const rejected = assessments.filter((assessment) => assessment.kind === "rejected");
  const ofKind = (...kinds: Rejection[]) =>
    rejected.filter(({ rejection }) => kinds.includes(rejection));
  const impossible = impossibleRule(inputs, request);
  if (impossible !== null) return impossible;
  const waiting = ofKind("full", "too-late");
  if (waiting.length > 0) {
    const waitMs = Math.min(...waiting.map(({ queueMs }) => queueMs));
    const late = waiting.every(({ rejection }) => rejection === "too-late");
    const why = late
      ? `no edge can begin ${model} before the request's deadline`
      : `every edge with ${model} is full`;
    return new Fault("overloaded", why, { retryAfterMs: boundedRetryAfter(waitMs) });
  }
  const holders = rejected.filter(({ rejection }) => rejection !== "model-absent");
  if (holders.length > 0) {
    if (version !== "" && ofKind("other-version").length === holders.length) {
      return new Fault("model-not-found", `no edge serves ${version}`, { param: "version" });
    }
    return new Fault("unavailable", `no edge can serve ${model} now: ${reasonsOf(holders)}`);
  }
  const elsewhere = [...peers.models()].some((known) => known.model === model);
  // A region that knows no edge at all can't say that a model doesn't exist.
  if (elsewhere || assessments.length === 0 || peers.anyUntold) {
    return new Fault("unavailable", `nothing in reach can serve ${model} now`);
  }
  return new Fault("model-not-found", `the model ${model} is not served here`, { param: "model" });
}

function reasonsOf(rejected: readonly Rejected[]): string {
  const reasons = new Set(rejected.map(({ reason }) => reason));
  return [...reasons].slice(0, REASONS_TOLD_MAX).join("; ");
}

export function boundedRetryAfter(waitMs: number): number {
  return Math.round(Math.min(Math.max(waitMs, RETRY_AFTER_MIN_MS), RETRY_AFTER_MAX_MS));
}
