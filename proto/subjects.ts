// Every NATS subject in one place. Bodies are binary messages of proto/isthmus/v1.
import type { EdgeId, RegionId } from "./ids.ts";

export const subjects = {
  /** Heartbeat, edge to its region. */
  heartbeat: (region: RegionId, edge: EdgeId) => `isthmus.hb.${region}.${edge}`,
  heartbeats: (region: RegionId) => `isthmus.hb.${region}.*`,
  /** DesiredState, coordinator to all regions; empty request asks for it at once. */
  desired: "isthmus.desired.all",
  desiredGet: "isthmus.desired.get",
  /** DesiredState, region to its edges; an empty desiredGetOf request asks for it at once. */
  desiredOf: (region: RegionId) => `isthmus.desired.${region}.edges`,
  desiredGetOf: (region: RegionId) => `isthmus.desired.${region}.get`,
  /** RegionSummary, region to the other regions and the coordinator. */
  summary: (region: RegionId) => `isthmus.summary.${region}`,
  summaries: "isthmus.summary.*",
  /** RegionInstance, each process of a region that runs as a pair, to the others. */
  pair: (region: RegionId) => `isthmus.pair.${region}`,
  /** ScalingShare, each gateway of a region to its others. */
  scaling: (region: RegionId) => `isthmus.scaling.${region}`,
  /** RoundOffer request, coordinator to region; answered with RegionRoundStatus. */
  roundOffer: (region: RegionId) => `isthmus.round.${region}.offer`,
  /** RegionRoundStatus, region to coordinator. */
  roundStatus: (region: RegionId) => `isthmus.round.${region}.status`,
  roundStatuses: "isthmus.round.*.status",
  /** RoundOffer request, coordinator to region: its last status was taken and is durable. */
  roundTaken: (region: RegionId) => `isthmus.round.${region}.taken`,
  /** RebuildRequest, coordinator to region: a partial again, without some edges. RebuildReply. */
  roundRebuild: (region: RegionId) => `isthmus.round.${region}.rebuild`,
  /** TrainCommand request, region to edge; answered with TrainReply. */
  train: (region: RegionId, edge: EdgeId) => `isthmus.cmd.${region}.${edge}.train`,
  /** MaskCommand request, region to edge; answered with MaskReply. */
  mask: (region: RegionId, edge: EdgeId) => `isthmus.cmd.${region}.${edge}.mask`,
  /** EvaluateCommand request, to an edge; answered with EvaluateReply. */
  evaluate: (region: RegionId, edge: EdgeId) => `isthmus.cmd.${region}.${edge}.evaluate`,
  /** DrainCommand request, to an edge; answered with DrainReply. */
  drain: (region: RegionId, edge: EdgeId) => `isthmus.cmd.${region}.${edge}.drain`,
  /**
   * Session request, to a region from another: each is told only what it may keep. One without
   * messages that isn't deleted asks whether it wants the version. Answered with a SESSION_REPLY.
   */
  session: (region: RegionId) => `isthmus.session.${region}`,
  /** Session request with a name alone, to a region; answered with what it keeps, or nothing. */
  sessionGet: (region: RegionId) => `isthmus.session.${region}.get`,
  /** TrainProgress, edge to region. */
  progress: (region: RegionId, edge: EdgeId) => `isthmus.progress.${region}.${edge}`,
  progresses: (region: RegionId) => `isthmus.progress.${region}.*`,
} as const;
