// Why an edge is no candidate for a request, in words. The first reason that holds is told; the
// columns say the same in bits (lane-estimate.ts).
import { ModelStatus } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { Assessment, Rejection } from "./decision.ts";
import type { EdgeRow, Lane } from "./lane.ts";
import { isFull } from "./lane-estimate.ts";
import type { RouteRequest } from "./route-request.ts";

const MIB = 1 << 20;

export function rejected(
  { edge, key }: EdgeRow,
  rejection: Rejection,
  reason: string,
  queueMs = 0,
): Assessment {
  return { kind: "rejected", edge, key, rejection, reason, queueMs };
}

/** Null for a candidate. `excluded` holds keys. */
export function rejectionOf(
  lane: Lane,
  request: RouteRequest,
  excluded: ReadonlySet<string>,
  nowMs: number,
): Assessment | null {
  const { edge, record } = lane;
  const reject = (rejection: Rejection, reason: string, queueMs = 0) =>
    rejected(edge, rejection, reason, queueMs);
  if (edge.status !== "ready") {
    return reject("status", `it is ${edge.status}: ${edge.statusReason}`);
  }
  if (!lane.isServable) return unservable(lane);
  if (request.version !== "" && lane.version !== request.version) {
    return reject("other-version", `it serves ${lane.version}`);
  }
  if (request.policy.gpuRequired && !edge.hasGpu) return reject("gpu-required", "it has no GPU");
  if (edge.isPreemptible && request.priority !== "batch") {
    return reject("preemptible", "it may be taken away at any time, and takes batch work only");
  }
  if (excluded.has(edge.key)) return reject("tried", "it was tried for this request");
  if (record.isOut) {
    const backInS = Math.max(0, (record.untilMs - nowMs) / 1000).toFixed(1);
    const until =
      record.phase === "probed" ? "one request tries it now" : `on trial in ${backInS} s`;
    return reject("ejected", `ejected after ${record.cause}; ${until}`);
  }
  if (isFull(lane)) {
    const { busy, slots, queueMax, queueMs } = lane;
    return reject("full", `full: ${busy} of ${slots} slots and ${queueMax} places`, queueMs);
  }
  return null;
}

function unservable(lane: Lane): Assessment {
  const { edge, status, reason, neededBytes } = lane;
  if (status === ModelStatus.STORED) {
    const where = edge.hasGpu ? "of its GPU's memory" : "of its memory";
    const told =
      `loading it takes ${(neededBytes / MIB).toFixed(0)} MiB, ` +
      `and ${(edge.freeBytes / MIB).toFixed(0)} MiB ${where} are free`;
    return rejected(edge, "no-memory", told);
  }
  const why = reason === "" ? "" : `: ${reason}`;
  return rejected(edge, "model-not-ready", `the model is ${statusName(status)} there${why}`);
}

function statusName(status: ModelStatus): string {
  const name = Object.entries(ModelStatus).find(([, value]) => value === status)?.[0];
  return name?.toLowerCase() ?? "in an unknown state";
}
