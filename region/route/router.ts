// Chooses the edge for a request: filter, score, pick. Keeps why each candidate lost.
import { ModelStatus } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { Random } from "../../runtime/random.ts";
import {
  type AssumedRates,
  busyOf,
  defaultRates,
  type PredictedTerms,
  predict,
  ratesOf,
  totalMs,
} from "./prediction.ts";
import type { RouteRequest, RouteTarget } from "./route-target.ts";

/** Why a target is no candidate; closed, so that the gateway can tell full from absent. */
export type Rejection =
  | "status"
  | "model-absent"
  | "model-not-ready"
  | "other-version"
  | "full"
  | "tried";

export type Assessment =
  | {
      readonly kind: "candidate";
      readonly target: RouteTarget;
      readonly terms: PredictedTerms;
      readonly totalMs: number;
    }
  | {
      readonly kind: "rejected";
      readonly target: RouteTarget;
      readonly rejection: Rejection;
      readonly reason: string;
      /** For a full one: predicted wait for a slot. */
      readonly queueMs: number;
    };

type CandidateAssessment = Extract<Assessment, { kind: "candidate" }>;

export interface Decision {
  readonly chosen: CandidateAssessment | null;
  readonly assessments: readonly Assessment[];
}

/** Candidates this close to the best are equal; one is taken at random, so that nobody herds. */
export const NEAR_EQUAL = 1.1;

export function decide(
  targets: Iterable<RouteTarget>,
  request: RouteRequest,
  excluded: ReadonlySet<string>,
  random: Random,
): Decision {
  const assessments: Assessment[] = [];
  const candidates: CandidateAssessment[] = [];
  let best = Infinity;
  const all = [...targets];
  const assumed = ratesOf(all);
  for (const target of all) {
    const assessment = assess(target, request, excluded, assumed);
    assessments.push(assessment);
    if (assessment.kind === "rejected") continue;
    candidates.push(assessment);
    best = Math.min(best, assessment.totalMs);
  }
  const near = candidates.filter((candidate) => candidate.totalMs <= best * NEAR_EQUAL);
  const chosen = near[Math.floor(random() * near.length)] ?? null;
  return { chosen, assessments };
}

/** Judges one target, alone. */
export function assess(
  target: RouteTarget,
  request: RouteRequest,
  excluded: ReadonlySet<string>,
  assumed: AssumedRates = defaultRates,
): Assessment {
  const { model } = target;
  const rejected = (rejection: Rejection, reason: string, queueMs = 0): Assessment => ({
    kind: "rejected",
    target,
    rejection,
    reason,
    queueMs,
  });
  if (model === undefined) return rejected("model-absent", "it doesn't have the model");
  if (target.status !== "ready") {
    return rejected("status", `it is ${target.status}: ${target.statusReason}`);
  }
  if (model.status !== ModelStatus.READY) {
    const why = model.reason === "" ? "" : `: ${model.reason}`;
    return rejected("model-not-ready", `the model is ${statusName(model.status)} there${why}`);
  }
  if (request.version !== "" && model.version !== request.version) {
    return rejected("other-version", `it serves ${model.version}`);
  }
  if (excluded.has(target.key)) return rejected("tried", "it was tried for this request");
  const terms = predict(target, model, request, assumed);
  const busy = busyOf(target, model);
  if (busy >= model.slots + model.queueMax) {
    const reason = `full: ${busy} of ${model.slots} slots and ${model.queueMax} places to wait`;
    return rejected("full", reason, terms.queueMs);
  }
  return { kind: "candidate", target, terms, totalMs: totalMs(terms) };
}

function statusName(status: ModelStatus): string {
  const name = Object.entries(ModelStatus).find(([, value]) => value === status)?.[0];
  return name?.toLowerCase() ?? "in an unknown state";
}
