// Does a candidate do worse with callers than the incumbent? Error rates, times and ratings are
// each held against a margin of the plan. A version is worse when what was measured lies beyond
// the margin and when it is surely worse at all (see evidence.ts): too few requests, or requests
// that differ too much among themselves, condemn nobody. Pure.
import type { LiveMargins } from "../rounds/plan/gate-plan.ts";
import { isSurelyHigher, type Rate } from "./evidence.ts";
import { slowdownOf } from "./slowdown.ts";
import { added, mean, noSums, timesOf, type VersionSums } from "./version-sums.ts";

/** One edge, as both versions have done there. */
export interface EdgeHealth {
  /** `<region>/<edge>` */
  readonly edge: string;
  readonly candidate: VersionSums;
  readonly incumbent: VersionSums;
}

export type HealthVerdict =
  | { readonly kind: "worse"; readonly measure: Measure; readonly reason: string }
  /** Not worse by what is known, and enough is known. */
  | { readonly kind: "fine" }
  /** Not worse by what is known, but too little is known. */
  | { readonly kind: "unsure" };

export type Measure = "errors" | "ttft" | "tpot" | "feedback";

/** Fewer mishaps than these condemn no version. */
const ERRORS_MIN = 3;

export function compareHealth(rows: readonly EdgeHealth[], margins: LiveMargins): HealthVerdict {
  const candidate = rows.reduce((sum, row) => added(sum, row.candidate), noSums);
  const incumbent = rows.reduce((sum, row) => added(sum, row.incumbent), noSums);
  const worse =
    moreErrors(candidate, incumbent, margins) ??
    slower(rows, firstToken(margins), margins.samples) ??
    slower(rows, eachToken(margins), margins.samples) ??
    ratedLower(candidate, incumbent, margins);
  if (worse !== undefined) return worse;
  return { kind: candidate.requests >= margins.samples ? "fine" : "unsure" };
}

/** Errors need no incumbent to be seen as errors: without its samples its rate counts as 0. */
function moreErrors(
  candidate: VersionSums,
  incumbent: VersionSums,
  { errorPoints, samples }: LiveMargins,
): HealthVerdict | undefined {
  if (candidate.requests < samples || candidate.errors < ERRORS_MIN) return undefined;
  const before = incumbent.requests === 0 ? 0 : incumbent.errors / incumbent.requests;
  const now = candidate.errors / candidate.requests;
  if (100 * (now - before) <= errorPoints) return undefined;
  if (!isSurelyHigher(errorRate(candidate), errorRate(incumbent), samples)) return undefined;
  const reason =
    `${percent(now)} of ${candidate.requests} requests fail, ` +
    `${percent(before)} with the incumbent; at most ${errorPoints} points more may`;
  return { kind: "worse", measure: "errors", reason };
}

interface Timing {
  readonly measure: "ttft" | "tpot";
  readonly words: string;
  readonly ratio: number;
  readonly slackMs: number;
}

function firstToken({ ttftRatio: ratio, ttftSlackMs: slackMs }: LiveMargins): Timing {
  return { measure: "ttft", words: "the first token takes", ratio, slackMs };
}

function eachToken({ tpotRatio: ratio, tpotSlackMs: slackMs }: LiveMargins): Timing {
  return { measure: "tpot", words: "each token takes", ratio, slackMs };
}

function slower(
  rows: readonly EdgeHealth[],
  { measure, words, ratio, slackMs }: Timing,
  samples: number,
): HealthVerdict | undefined {
  const times = rows.map(({ candidate, incumbent }) => {
    return { candidate: timesOf(candidate, measure), incumbent: timesOf(incumbent, measure) };
  });
  const found = slowdownOf(times, { ratio, slackMs, samples });
  if (found === undefined) return undefined;
  const reason =
    `${words} ${ms(found.tookMs)} over ${found.samples} requests, ${ms(found.expectedMs)} with ` +
    `the incumbent there; at most ${ratio} times that and ${slackMs} ms may be taken`;
  return { kind: "worse", measure, reason };
}

function ratedLower(
  candidate: VersionSums,
  incumbent: VersionSums,
  { feedbackMargin, feedbackSamples }: LiveMargins,
): HealthVerdict | undefined {
  const now = mean(candidate.feedbackSum, candidate.feedbackCount);
  const before = mean(incumbent.feedbackSum, incumbent.feedbackCount);
  if (now === undefined || before === undefined) return undefined;
  const isEnough = Math.min(candidate.feedbackCount, incumbent.feedbackCount) >= feedbackSamples;
  if (!isEnough || before - now <= feedbackMargin) return undefined;
  if (!isSurelyHigher(dislike(candidate), dislike(incumbent), feedbackSamples)) return undefined;
  const reason =
    `${candidate.feedbackCount} callers rate it ${now.toFixed(2)}, ` +
    `${incumbent.feedbackCount} the incumbent ${before.toFixed(2)}; ` +
    `it may be ${feedbackMargin} lower`;
  return { kind: "worse", measure: "feedback", reason };
}

function errorRate({ errors, requests }: VersionSums): Rate {
  return { hits: errors, count: requests };
}

/** Ratings from 1 to -1 as shares from 0 to 1: no ratings of a mean spread further than ayes do. */
function dislike({ feedbackSum, feedbackCount }: VersionSums): Rate {
  return { hits: (feedbackCount - feedbackSum) / 2, count: feedbackCount };
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

function ms(time: number): string {
  return `${time.toFixed(time < 10 ? 2 : 0)} ms`;
}
