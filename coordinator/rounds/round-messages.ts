// Between what a campaign remembers and the messages on the wire.
import { create } from "@bufbuild/protobuf";
import {
  Bucket,
  type EdgeOutcome,
  type RegionRoundStatus,
  type RoundOffer,
  RoundOfferSchema,
} from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import { sha256Pattern } from "../../proto/ids.ts";
import { formatToWire } from "../../sync/delta/codec/delta-format.ts";
import {
  type ArtifactRef,
  artifactOf,
  modelVersionOf,
  type VersionRecord,
} from "../catalogue/model-record.ts";
import { normMaxOf, privacyOffer } from "../privacy/privacy-offer.ts";
import type { RegionReport } from "./campaign-event.ts";
import type { BucketName, CampaignState, EdgeRound, RegionPartialRef } from "./campaign-state.ts";
import { owedRounds } from "./owed-rounds.ts";
import { freezesA, ruleOffer } from "./rule-offer.ts";

/** Share of the time for a round that an edge may train; the rest is for the delta's way. */
const TRAINING_SHARE = 0.8;
/** What is left of the learning rate after a refusal. */
const REFUSED_RATE_SHARE = 0.5;
const FILE_NAME_MAX = 255;

const bucketNames: Record<Bucket, BucketName> = {
  [Bucket.UNSPECIFIED]: "training",
  [Bucket.TRAINING]: "training",
  [Bucket.INCLUDED]: "included",
  [Bucket.LATE]: "late",
  [Bucket.FAILED]: "failed",
  [Bucket.QUARANTINED]: "quarantined",
  [Bucket.DECLINED]: "declined",
};

/**
 * The round under way as it is offered to a region. Requires: there is one; `version` is the good
 * one's record, `start` the adapter state that edges train from.
 */
export function offerOf(
  campaign: CampaignState,
  version: VersionRecord,
  region: string,
  start: ArtifactRef | null = campaign.good.training?.state ?? null,
): RoundOffer {
  const { params, round, pace } = campaign;
  const { seed, finalRateShare: _, ...settings } = params;
  const number = round?.number ?? 0;
  return create(RoundOfferSchema, {
    campaign: campaign.id,
    round: number,
    model: campaign.model,
    version: modelVersionOf(version),
    ...(start === null ? {} : { adapterState: artifactOf(start) }),
    params: {
      ...settings,
      normMax: normMaxOf(campaign),
      freezeA: freezesA(campaign),
      learningRate: learningRateOf(campaign, number),
      timeLimitMs: Math.floor(campaign.pace.deadlineMs * TRAINING_SHARE),
      // Another seed each round: the same start and data would only give the same delta again.
      seed: BigInt(seed + number - 1),
    },
    ...(campaign.replay === null ? {} : { replay: artifactOf(campaign.replay) }),
    deadlineMs: BigInt(round?.deadlineMs ?? 0),
    quorum: 1,
    goal: round?.regions.find((one) => one.region === region)?.goal ?? 0,
    overSelection: pace.overSelection,
    format: formatToWire(campaign.format),
    rule: ruleOffer(campaign),
    asynchronous: campaign.strategy.asynchronous !== null,
    carriedRounds: [...owedRounds(campaign, region)],
    ...privacyOffer(campaign),
  });
}

/**
 * It falls by the same factor from each round to the next, and further with each that the gate
 * refused: the same steps from the same start would only be refused again.
 */
function learningRateOf({ params, rounds, past }: CampaignState, number: number): number {
  const done = rounds > 1 ? (number - 1) / (rounds - 1) : 0;
  const refused = past.filter(({ phase }) => phase === "rejected").length;
  const share = params.finalRateShare ** done * REFUSED_RATE_SHARE ** refused;
  return params.learningRate * share;
}

/** A status as the campaign reads it. A partial that makes no sense is left out with a reason. */
export function reportOf(status: RegionRoundStatus): RegionReport {
  const partial = partialOf(status);
  return {
    round: status.round,
    region: status.region,
    done: status.done,
    edges: status.edges.map(edgeRoundOf),
    partial: typeof partial === "string" ? null : partial,
    reason: typeof partial === "string" ? partial : status.reason,
  };
}

function partialOf(status: RegionRoundStatus): RegionPartialRef | null | string {
  const { partial, region } = status;
  if (!status.done || partial === undefined) return null;
  const { artifact, weight, rank, alpha } = partial;
  const bytes = Number(artifact?.bytes ?? 0);
  if (!sha256Pattern.test(artifact?.sha256 ?? "") || bytes < 1) return "its partial has no name";
  if (!(weight > 0) || !Number.isFinite(weight)) return `its partial has the weight ${weight}`;
  if (!URL.canParse(status.http)) return `its partial is at ${JSON.stringify(status.http)}`;
  const name = (artifact?.name || `${region}.safetensors`).slice(0, FILE_NAME_MAX);
  return {
    artifact: { sha256: artifact?.sha256 ?? "", bytes, name },
    weight,
    contributors: [...partial.contributors],
    rank,
    alpha,
    kind: partial.kind === "stack" ? "stack" : "sum",
    leftOut: partial.leftOut.map(({ edge, reason }) => ({ edge, reason })),
    http: status.http,
  };
}

function edgeRoundOf(outcome: EdgeOutcome): EdgeRound {
  return {
    edge: outcome.edge,
    bucket: bucketNames[outcome.bucket] ?? "failed",
    reason: outcome.reason,
    examples: outcome.examples,
    deltaBytes: Number(outcome.deltaBytes),
    norm: finite(outcome.norm),
    lossBefore: finite(outcome.lossBefore),
    lossAfter: finite(outcome.lossAfter),
    step: outcome.step,
    steps: outcome.steps,
    loss: finite(outcome.loss),
    receivedBytes: Number(outcome.receivedBytes),
    totalBytes: Number(outcome.totalBytes),
  };
}

/** JSON has no NaN; an edge that reports one has no number to tell. */
function finite(value: number): number {
  return Number.isFinite(value) ? value : 0;
}
