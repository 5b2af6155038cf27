// How a version has done with callers: sums and counts, so that a mean over edges is exact.
import type { VersionHealth } from "../../proto/gen/isthmus/v1/mesh_pb.ts";

export interface VersionSums {
  readonly requests: number;
  /** Requests that ended by a fault of the edge's. */
  readonly errors: number;
  readonly ttftMsSum: number;
  readonly ttftCount: number;
  readonly tpotMsSum: number;
  readonly tpotCount: number;
  /** Ratings from -1 to 1. */
  readonly feedbackSum: number;
  readonly feedbackCount: number;
}

export const noSums: VersionSums = {
  requests: 0,
  errors: 0,
  ttftMsSum: 0,
  ttftCount: 0,
  tpotMsSum: 0,
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
    ttftCount: Number(health.ttftCount),
    tpotMsSum: sane(health.tpotMsSum),
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

/** Undefined where nothing was measured. */
export function mean(sum: number, count: number): number | undefined {
  return count > 0 ? sum / count : undefined;
}

function sane(sum: number): number {
  return Number.isFinite(sum) && sum >= 0 ? sum : 0;
}
