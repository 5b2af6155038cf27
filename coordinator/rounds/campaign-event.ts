// What can happen to a campaign.
import type { Evaluation, TrainingState } from "../catalogue/model-record.ts";
import type { RegionRound } from "./campaign-state.ts";

/** What an evaluation was for. */
export type MeasurePurpose = "baseline" | "candidate" | "served";

/** A region's word on a round. */
export type RegionReport = Pick<RegionRound, "region" | "reason" | "edges" | "partial"> & {
  readonly round: number;
  readonly done: boolean;
};

export type CampaignEvent =
  /** Time has passed. */
  | { readonly kind: "tick" }
  | { readonly kind: "reported"; readonly report: RegionReport }
  /** A region's partial is here, verified. */
  | { readonly kind: "pulled"; readonly round: number; readonly region: string }
  | {
      readonly kind: "pull-failed";
      readonly round: number;
      readonly region: string;
      readonly reason: string;
    }
  | {
      readonly kind: "merged";
      readonly round: number;
      readonly version: string;
      readonly training: TrainingState;
    }
  /** The public set couldn't be evaluated when `failed` says why. */
  | {
      readonly kind: "measured";
      readonly purpose: MeasurePurpose;
      /** 0 for the baseline. */
      readonly round: number;
      readonly evaluations: readonly Evaluation[];
      readonly failed?: string;
    }
  | {
      readonly kind: "rolled-out";
      readonly round: number;
      /** Edges that have not reported the version in time. */
      readonly stragglers: readonly string[];
    }
  /** Merging failed, or anything that leaves the round without a result. */
  | { readonly kind: "round-failed"; readonly round: number; readonly reason: string }
  | { readonly kind: "stopped"; readonly reason: string };
