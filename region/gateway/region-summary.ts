// What a region says of itself: to the other regions, to the coordinator, and at /v1/region.
import { create } from "@bufbuild/protobuf";
import {
  EdgeSummarySchema,
  ModelStatus,
  type RegionModel,
  RegionModelSchema,
  type RegionSummary,
  RegionSummarySchema,
} from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { EdgeRegistry } from "../membership/edge-registry.ts";
import type { Member } from "../membership/member.ts";
import { busyOf } from "../route/prediction.ts";
import { assess } from "../route/router.ts";

export interface RegionIdentity {
  readonly region: string;
  /** Unix milliseconds at which this process started. */
  readonly incarnation: bigint;
  readonly grpc: string;
  readonly http: string;
}

/** The prompt for which a region predicts its time to first token. */
const SHORT_PROMPT_TOKENS = 64;
/** Edges listed one by one; more would not fit in a NATS message. The models count all of them. */
const EDGES_TOLD_MAX = 3000;
const noneExcluded: ReadonlySet<string> = new Set();

export function summarize(
  identity: RegionIdentity,
  sequence: bigint,
  edges: EdgeRegistry,
  desiredRevision: bigint,
): RegionSummary {
  const names = new Set<string>();
  for (const { heartbeat } of edges.members()) {
    for (const { model } of heartbeat.models) names.add(model);
  }
  return create(RegionSummarySchema, {
    ...identity,
    sequence,
    desiredRevision,
    models: [...names].sort().map((model) => summarizeModel(model, edges)),
    edges: [...edges.members()].slice(0, EDGES_TOLD_MAX).map(summarizeEdge),
  });
}

function summarizeModel(model: string, edges: EdgeRegistry): RegionModel {
  const request = {
    model,
    version: "",
    preferredVersion: "",
    promptTokens: SHORT_PROMPT_TOKENS,
  };
  const summary = create(RegionModelSchema, { model });
  let bestMs = Infinity;
  for (const target of edges.targets(model)) {
    const state = target.model;
    if (state?.status !== ModelStatus.READY || target.status !== "ready") continue;
    summary.edgesReady += 1;
    summary.freeSlots += Math.max(0, state.slots - busyOf(target, state));
    summary.queued += state.queued;
    const assessment = assess(target, request, noneExcluded);
    const totalMs = assessment.kind === "candidate" ? assessment.totalMs : assessment.queueMs;
    if (totalMs >= bestMs) continue;
    bestMs = totalMs;
    summary.predictedTtftMs = totalMs;
    summary.decodeTokensPerS = state.decodeTokensPerS;
    summary.version = state.version;
    summary.contextLength = state.contextLength;
    summary.architecture = state.architecture;
  }
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
