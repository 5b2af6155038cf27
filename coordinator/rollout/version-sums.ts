// How a version has done with callers: sums and counts, so that a mean over edges is exact.
import type { VersionHealth } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { Moments } from "./evidence.ts";

export interface VersionSums {
  readonly requests: number;
  /** Requests that ended by a fault of the edge's. */
  readonly errors: number;
  readonly ttftMsSum: number;
  readonly ttftMsSquareSum: number;
  readonly ttftCount: number;
  readonly tpotMsSum: number;
  readonly tpotMsSquareSum: number;
  readonly tpotCount: number;
  /** Ratings from -1 to 1. */
  readonly feedbackSum: number;
  readonly feedbackCount: number;
}

export const noSums: VersionSums = {
  requests: 0,
  errors: 0,
  ttftMsSum: 0,
  ttftMsSquareSum: 0,
  ttftCount: 0,
  tpotMsSum: 0,
  tpotMsSquareSum: 0,
  tpotCount: 0,
  feedbackSum: 0,
  feedbackCount: 0,
};

/** What an edge tells, in which a number that makes no sense counts for nothing. */
export function sumsOf(health: VersionHealth): VersionSums {
  const requests = Number(health.requests);
  return {
    requests,
    errors: Math.min(Number(health.errors), requests),
    ttftMsSum: sane(health.ttftMsSum),
    ttftMsSquareSum: sane(health.ttftMsSquareSum),
    ttftCount: Number(health.ttftCount),
    tpotMsSum: sane(health.tpotMsSum),
    tpotMsSquareSum: sane(health.tpotMsSquareSum),
    tpotCount: Number(health.tpotCount),
    feedbackSum: Number.isFinite(health.feedbackSum) ? health.feedbackSum : 0,
    feedbackCount: Number(health.feedbackCount),
  };
}

export function added(a: VersionSums, b: VersionSums): VersionSums {
  const names = Object.keys(noSums) as (keyof VersionSums)[];
  const sums = names.map((name) => [name, a[name] + b[name]]);
  return Object.fromEntries(sums) as Record<keyof VersionSums, number>;
}

/** Of one kind of times. */
export function timesOf(sums: VersionSums, kind: "ttft" | "tpot"): Moments {
  return kind === "ttft"
    ? { sum: sums.ttftMsSum, squareSum: sums.ttftMsSquareSum, count: sums.ttftCount }
    : { sum: sums.tpotMsSum, squareSum: sums.tpotMsSquareSum, count: sums.tpotCount };
}

/** Undefined where nothing was measured. */
export function mean(sum: number, count: number): number | undefined {
  return count > 0 ? sum / count : undefined;
}

function sane(sum: number): number {
  return Number.isFinite(sum) && sum >= 0 ? sum : 0;
}
