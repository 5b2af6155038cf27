// The rule of a request's policy that nothing known to this region can meet, now or later: a fault
// that names it, rather than one that invites another try.
import { Fault } from "../../proto/fault.ts";
import type { EdgeRegistry } from "../membership/edge-registry.ts";
import type { RouteRequest } from "../route/route-request.ts";
import { assessPeers, type PeerAssessment } from "../spill/peer-choice.ts";
import type { PeerRegistry } from "../spill/peer-registry.ts";

export interface KnownPlaces {
  readonly edges: EdgeRegistry;
  readonly peers: PeerRegistry;
}

const nothing: ReadonlySet<string> = new Set();

/** Null when some place that is known could meet every rule. */
export function impossibleRule({ edges, peers }: KnownPlaces, request: RouteRequest): Fault | null {
  const { policy, model } = request;
  // A region that is there but hasn't said how it is may be the one.
  const others = assessPeers(peers.views(model), request, [], nothing);
  if (edges.table.residencyRefusal(policy) !== null) {
    const mayCarry = policy.jurisdictions.length > 0 && peers.anyUntold;
    const allRefuse = others.every((other) => isRejectedFor(other, "residency"));
    return allRefuse && !mayCarry ? impossibleResidency(request, peers) : null;
  }
  if (!policy.gpuRequired || !others.every((other) => isRejectedFor(other, ...never))) return null;
  const holders = [...edges.members()].filter(({ heartbeat }) =>
    heartbeat.models.some((state) => state.model === model),
  );
  if (holders.length === 0 || holders.some(({ heartbeat }) => heartbeat.gpus.length > 0)) {
    return null;
  }
  const param = "policy.gpu_required";
  const message = `${param}: no edge that serves ${model} is known to have a GPU`;
  return new Fault("failed-precondition", message, { param });
}

type PeerRejection = Extract<PeerAssessment, { kind: "rejected" }>["rejection"];
/** What a try a moment later won't change. */
const never: readonly PeerRejection[] = ["residency", "model-absent", "no-gpu"];

function isRejectedFor(assessment: PeerAssessment, ...rejections: PeerRejection[]): boolean {
  return assessment.kind === "rejected" && rejections.includes(assessment.rejection);
}

function impossibleResidency({ policy }: RouteRequest, peers: PeerRegistry): Fault {
  const { regions, jurisdictions } = policy;
  const known = [...peers.list()].some(({ region }) => regions.includes(region));
  const [param, message] =
    regions.length > 0 && !known
      ? [
          "policy.regions",
          `policy.regions = ${regions.join(", ")}: no region of that name is known`,
        ]
      : [
          "policy.jurisdictions",
          `policy.jurisdictions = ${jurisdictions.join(", ")}: no region allowed carries one`,
        ];
  return new Fault("failed-precondition", message, { param });
}
