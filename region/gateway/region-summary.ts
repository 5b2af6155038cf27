// What a region says of itself: to the other regions, to the coordinator, and at /v1/region.
import { create } from "@bufbuild/protobuf";
import {
  EdgeSummarySchema,
  type RegionModel,
  RegionModelSchema,
  type RegionSummary,
  RegionSummarySchema,
} from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { EdgeRegistry } from "../membership/edge-registry.ts";
import type { Member } from "../membership/member.ts";

export interface ToldRegion {
  readonly region: string;
  /** Unix milliseconds at which the region, or its one process, began. */
  readonly incarnation: bigint;
  /** Greater with each summary. */
  readonly sequence: bigint;
  readonly grpc: string;
  readonly http: string;
}

/** Edges listed one by one; more would not fit in a NATS message. The models count all of them. */
const EDGES_TOLD_MAX = 3000;
/** Edges of which it is told how their versions do; those that try one go first. */
const HEALTH_TOLD_MAX = 500;

export function summarize(
  identity: ToldRegion,
  edges: EdgeRegistry,
  desiredRevision: bigint,
  trying: readonly string[] = [],
): RegionSummary {
  const names = new Set<string>();
  for (const { heartbeat } of edges.members()) {
    for (const { model } of heartbeat.models) names.add(model);
  }
  return create(RegionSummarySchema, {
    ...identity,
    desiredRevision,
    models: [...names].sort().map((model) => summarizeModel(model, edges)),
    edges: summarizeEdges(edges, new Set(trying)),
  });
}

function summarizeEdges(edges: EdgeRegistry, trying: ReadonlySet<string>) {
  const told = [...edges.members()].slice(0, EDGES_TOLD_MAX);
  const first = told.filter(({ edge }) => trying.has(edge));
  const others = told.filter(({ edge }) => !trying.has(edge));
  const open = new Set([...first, ...others].slice(0, HEALTH_TOLD_MAX));
  return told.map((member) => {
    const summary = summarizeEdge(member);
    if (open.has(member)) summary.health = member.heartbeat.health;
    return summary;
  });
}

function summarizeModel(model: string, edges: EdgeRegistry): RegionModel {
  const summary = create(RegionModelSchema, { model });
  const told = edges.table.summary(model, edges.nowMs);
  if (told === null) return summary;
  const { best, ...counts } = told;
  Object.assign(summary, counts);
  if (best === null) return summary;
  const { edge, ttftMs, ...figures } = best;
  Object.assign(summary, figures, { predictedTtftMs: ttftMs });
  const state = edges.member(edge)?.heartbeat.models.find((one) => one.model === model);
  summary.contextLength = state?.contextLength ?? 0;
  summary.architecture = state?.architecture ?? "";
  return summary;
}

function summarizeEdge({ edge, status, heartbeat, trunk }: Member) {
  const { grpc, http, models, incarnation, rssBytes, memoryFreeBytes, gpus } = heartbeat;
  const { training, desiredRevision } = heartbeat;
  const rttMs = trunk.rttMs;
  return create(EdgeSummarySchema, {
    ...{ edge, grpc, http, status, models, incarnation, rssBytes, memoryFreeBytes, gpus },
    ...{ training, desiredRevision, rttMs },
  });
}
