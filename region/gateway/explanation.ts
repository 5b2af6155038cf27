// Why a request would go where it goes: every edge and region with its terms, and why it lost.
import type { Random } from "../../runtime/random.ts";
import type { EdgeRegistry } from "../membership/edge-registry.ts";
import { NEAR_EQUAL } from "../route/choice.ts";
import type { Assessment, RoutePrediction, RouteTerms } from "../route/decision.ts";
import type { RouteRequest } from "../route/route-request.ts";
import { assessPeers, type PeerAssessment } from "../spill/peer-choice.ts";
import type { PeerRegistry } from "../spill/peer-registry.ts";
import { type Placement, place } from "./placement.ts";

export interface ExplanationInputs {
  readonly region: string;
  readonly edges: EdgeRegistry;
  readonly peers: PeerRegistry;
  readonly random: Random;
}

const noneExcluded: ReadonlySet<string> = new Set();

const termNames: Record<keyof RouteTerms, string> = {
  rttMs: "round trip",
  queueMs: "queue",
  loadMs: "loading the model",
  prefillMs: "prefill",
  decodeMs: "first step",
  generationMs: "generation",
  penaltyMs: "recent failures",
  versionMs: "another version",
  policyMs: "energy and cost",
};

/** Plain JSON. Decides once, as for a request that starts in this region now. */
export function explain(inputs: ExplanationInputs, request: RouteRequest) {
  const { region, edges, peers } = inputs;
  const { nowMs } = edges;
  const placement = place({ ...inputs, nowMs }, request, [region], noneExcluded);
  const assessments = edges.table.explain(request, nowMs).sort(byTotal);
  const others = assessPeers(peers.views(request.model), request, [region], noneExcluded);
  const { model, promptTokens, expectedTokens } = request;
  return {
    ...{ region, model, promptTokens, expectedTokens },
    chosen: chosenKey(placement),
    ...(placement.kind === "nowhere"
      ? { fault: { code: placement.fault.code, message: placement.fault.message } }
      : {}),
    edges: assessments.map((assessment) => edgeRow(assessment, placement, edges)),
    peers: others.map((assessment) => peerRow(assessment, placement)),
  };
}

export type Explanation = ReturnType<typeof explain>;

function chosenKey(placement: Placement): string | null {
  if (placement.kind === "nowhere") return null;
  return placement.kind === "edge" ? placement.prediction.key : placement.spill.peer.key;
}

function edgeRow(assessment: Assessment, placement: Placement, edges: EdgeRegistry) {
  const isCandidate = assessment.kind === "candidate";
  const { edge, key } = isCandidate ? assessment.prediction : assessment;
  const status = edges.member(edge)?.status ?? "unknown";
  if (!isCandidate) {
    const { rejection, reason } = assessment;
    return { edge, key, status, candidate: false, rejection, reason };
  }
  const { version, cachedTokens, ttftMs, totalMs, terms } = assessment.prediction;
  return {
    ...{ edge, key, status, candidate: true, version, cachedTokens },
    reason: whyLost(assessment.prediction, placement),
    ...{ predictedTtftMs: ttftMs, predictedTotalMs: totalMs, terms },
  };
}

function whyLost(prediction: RoutePrediction, placement: Placement): string {
  if (placement.kind === "peer") return `region ${placement.spill.peer.target} is clearly faster`;
  if (placement.kind === "nowhere") return "it came just now";
  const chosen = placement.prediction;
  if (prediction.key === chosen.key) return "chosen";
  const moreMs = prediction.totalMs - chosen.totalMs;
  if (prediction.totalMs <= chosen.totalMs * NEAR_EQUAL) {
    const how = moreMs < 0 ? "as fast" : "nearly as fast";
    return `${how} as ${chosen.edge}, which was taken at random or for its session`;
  }
  const [name, ms] = widestGap(prediction.terms, chosen.terms);
  return `${moreMs.toFixed(0)} ms slower than ${chosen.edge}, ${ms.toFixed(0)} of it ${name}`;
}

/** The term in which it is furthest behind. */
function widestGap(terms: RouteTerms, than: RouteTerms): [string, number] {
  let widest: [string, number] = ["", -Infinity];
  for (const [term, name] of Object.entries(termNames)) {
    const gapMs = terms[term as keyof RouteTerms] - than[term as keyof RouteTerms];
    if (gapMs > widest[1]) widest = [name, gapMs];
  }
  return widest;
}

function peerRow(assessment: PeerAssessment, placement: Placement) {
  const { region, target, rttMs } = assessment.peer;
  const via = region === target ? {} : { via: region };
  if (assessment.kind === "rejected") {
    const { rejection, reason } = assessment;
    return { region: target, ...via, rttMs, candidate: false, rejection, reason };
  }
  const { totalMs, terms } = assessment;
  const isChosen = placement.kind === "peer" && placement.spill.peer.target === target;
  const reason = isChosen ? "chosen" : peerReason(placement);
  return {
    region: target,
    ...via,
    rttMs,
    candidate: true,
    reason,
    predictedTotalMs: totalMs,
    terms,
  };
}

function peerReason(placement: Placement): string {
  if (placement.kind === "edge") return "an edge of this region is about as fast or faster";
  return "another region is predicted to be as fast or faster";
}

function byTotal(a: Assessment, b: Assessment): number {
  const totalOf = (one: Assessment) =>
    one.kind === "candidate" ? one.prediction.totalMs : Infinity;
  const [left, right] = [totalOf(a), totalOf(b)];
  return left === right ? 0 : left - right;
}
