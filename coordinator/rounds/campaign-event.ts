// What can happen to a campaign.
import type { Evaluation, TrainingState } from "../catalogue/model-record.ts";
import type { RegionRound } from "./campaign-state.ts";
import type { ReadyRegion } from "./goal-shares.ts";

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
  /** How many edges of each region could be invited as the round was planned. */
  | { readonly kind: "counted"; readonly round: number; readonly ready: readonly ReadyRegion[] }
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
      /** The next round's, when it moves. */
      readonly clip?: number;
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
  /** Callers fared worse with its version than with the one before, which is served again. */
  | { readonly kind: "rolled-back"; readonly round: number; readonly reason: string }
  /** A version was taken back after it had been promoted. */
  | { readonly kind: "withdrawn"; readonly version: string; readonly reason: string }
  /** Merging failed, or anything that leaves the round without a result. */
  | { readonly kind: "round-failed"; readonly round: number; readonly reason: string }
  | { readonly kind: "stopped"; readonly reason: string };
