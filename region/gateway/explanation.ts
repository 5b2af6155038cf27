// Why a request for a model would go where it goes: every candidate with its terms, the others with
// their reasons.
import type { Random } from "../../runtime/random.ts";
import type { EdgeRegistry } from "../membership/edge-registry.ts";
import type { RouteRequest } from "../route/route-target.ts";
import { type Assessment, decide } from "../route/router.ts";
import { assessPeers, type PeerAssessment } from "../spill/peer-choice.ts";
import type { PeerRegistry } from "../spill/peer-registry.ts";

export interface ExplanationInputs {
  readonly region: string;
  readonly edges: EdgeRegistry;
  readonly peers: PeerRegistry;
  readonly random: Random;
}

const noneExcluded: ReadonlySet<string> = new Set();

/** Plain JSON. Decides once, as for a request that starts in this region now. */
export function explain(inputs: ExplanationInputs, request: RouteRequest) {
  const { region, edges, peers, random } = inputs;
  const decision = decide(edges.targets(request.model), request, noneExcluded, random);
  const chosen = decision.chosen?.target.key ?? null;
  const assessments = [...decision.assessments].sort(byTotal);
  const spilled = { ...request, expectedTokens: 1, policy: undefined };
  const views = peers.views(request.model);
  const peerAssessments = assessPeers(views, spilled, [region], noneExcluded);
  return {
    region,
    model: request.model,
    promptTokens: request.promptTokens,
    chosen,
    edges: assessments.map((assessment) => edgeRow(assessment, chosen)),
    peers: peerAssessments.map((assessment) => peerRow(assessment, chosen !== null)),
  };
}

function edgeRow(assessment: Assessment, chosen: string | null) {
  const { edge, key, status } = assessment.target;
  if (assessment.kind === "rejected") {
    return { edge, status, candidate: false, reason: assessment.reason };
  }
  const { terms, totalMs } = assessment;
  const reason = key === chosen ? "chosen" : "another is predicted to be as fast or faster";
  return { edge, status, candidate: true, reason, predictedTtftMs: totalMs, terms };
}

function peerRow(assessment: PeerAssessment, servedHere: boolean) {
  const { region, rttMs } = assessment.peer;
  if (assessment.kind === "rejected") {
    return { region, rttMs, candidate: false, reason: assessment.reason };
  }
  const reason = servedHere ? "an edge of this region can serve it" : "nothing here can serve it";
  return { region, rttMs, candidate: true, reason, predictedTtftMs: assessment.totalMs };
}

function byTotal(a: Assessment, b: Assessment): number {
  const totalOf = (one: Assessment) => (one.kind === "candidate" ? one.totalMs : Infinity);
  const [left, right] = [totalOf(a), totalOf(b)];
  return left === right ? 0 : left - right;
}
