// Does a candidate do worse with callers than the incumbent? Compares error rates, times and
// ratings by the plan's margins, and says so only with enough samples. Pure.
//
// Times depend on the machine: a candidate's mean on an edge is held against the incumbent's on the
// same edge, weighted by the candidate's samples there; an edge where the incumbent was hardly
// measured is held against the incumbent's mean over all edges.
import type { LiveMargins } from "../rounds/plan/gate-plan.ts";
import { added, mean, noSums, type VersionSums } from "./version-sums.ts";

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

/** One-sided 99 %, since the same two versions are compared again and again. */
const CONFIDENCE_Z = 2.33;
/** Fewer mishaps than these condemn no version. */
const ERRORS_MIN = 3;
/** Samples of the incumbent on one edge that stand for that edge. */
const OWN_SAMPLES_MIN = 10;

export function compareHealth(rows: readonly EdgeHealth[], margins: LiveMargins): HealthVerdict {
  const candidate = rows.reduce((sum, row) => added(sum, row.candidate), noSums);
  const incumbent = rows.reduce((sum, row) => added(sum, row.incumbent), noSums);
  const worse =
    moreErrors(candidate, incumbent, margins) ??
    slower(rows, incumbent, firstToken(margins), margins.samples) ??
    slower(rows, incumbent, eachToken(margins), margins.samples) ??
    ratedLower(candidate, incumbent, margins);
  if (worse !== undefined) return worse;
  return { kind: candidate.requests >= margins.samples ? "fine" : "unsure" };
}

/**
 * Errors need no incumbent to be seen as errors: without its samples its rate counts as 0. The rate
 * must be higher by the margin, and surely higher at all: few requests differ by chance.
 */
function moreErrors(
  candidate: VersionSums,
  incumbent: VersionSums,
  { errorPoints, samples }: LiveMargins,
): HealthVerdict | undefined {
  if (candidate.requests < samples || candidate.errors < ERRORS_MIN) return undefined;
  const before = incumbent.requests === 0 ? 0 : incumbent.errors / incumbent.requests;
  const now = candidate.errors / candidate.requests;
  if (100 * (now - before) <= errorPoints || !isSurelyMore(candidate, incumbent)) return undefined;
  const reason =
    `${percent(now)} of ${candidate.requests} requests fail, ` +
    `${percent(before)} with the incumbent; at most ${errorPoints} points more may`;
  return { kind: "worse", measure: "errors", reason };
}

interface Timing {
  readonly measure: "ttft" | "tpot";
  readonly words: string;
  readonly sum: "ttftMsSum" | "tpotMsSum";
  readonly count: "ttftCount" | "tpotCount";
  readonly ratio: number;
  readonly slackMs: number;
}

function firstToken({ ttftRatio: ratio, ttftSlackMs: slackMs }: LiveMargins): Timing {
  const words = "the first token takes";
  return { measure: "ttft", words, sum: "ttftMsSum", count: "ttftCount", ratio, slackMs };
}

function eachToken({ tpotRatio: ratio, tpotSlackMs: slackMs }: LiveMargins): Timing {
  const words = "each token takes";
  return { measure: "tpot", words, sum: "tpotMsSum", count: "tpotCount", ratio, slackMs };
}

function slower(
  rows: readonly EdgeHealth[],
  incumbent: VersionSums,
  { measure, words, sum, count, ratio, slackMs }: Timing,
  samples: number,
): HealthVerdict | undefined {
  const pooledMs = mean(incumbent[sum], incumbent[count]);
  if (pooledMs === undefined || incumbent[count] < samples) return undefined;
  let tookMs = 0;
  let expectedMs = 0;
  let seen = 0;
  for (const row of rows) {
    const isKnown = row.incumbent[count] >= OWN_SAMPLES_MIN;
    const ownMs = isKnown ? row.incumbent[sum] / row.incumbent[count] : pooledMs;
    tookMs += row.candidate[sum];
    expectedMs += ownMs * row.candidate[count];
    seen += row.candidate[count];
  }
  if (seen < samples || tookMs <= ratio * expectedMs + slackMs * seen) return undefined;
  const reason =
    `${words} ${ms(tookMs / seen)} over ${seen} requests, ${ms(expectedMs / seen)} with the ` +
    `incumbent there; at most ${ratio} times that and ${slackMs} ms may be taken`;
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
  const reason =
    `${candidate.feedbackCount} callers rate it ${now.toFixed(2)}, ` +
    `${incumbent.feedbackCount} the incumbent ${before.toFixed(2)}; ` +
    `it may be ${feedbackMargin} lower`;
  return { kind: "worse", measure: "feedback", reason };
}

/**
 * Whether the lower bound of the difference of the rates is above 0.
 * Source: Newcombe 1998, Statistics in Medicine 17:873, method 10 (from two Wilson intervals).
 */
function isSurelyMore(candidate: VersionSums, incumbent: VersionSums): boolean {
  const now = intervalOf(candidate);
  if (incumbent.requests === 0) return now.low > 0;
  const before = intervalOf(incumbent);
  const spread = Math.hypot(now.share - now.low, before.high - before.share);
  return now.share - before.share - spread > 0;
}

/** Of an error rate. Source: Wilson 1927. */
function intervalOf({ errors, requests }: VersionSums) {
  const share = errors / requests;
  const z2 = CONFIDENCE_Z ** 2;
  const middle = share + z2 / (2 * requests);
  const variance = (share * (1 - share)) / requests + z2 / (4 * requests ** 2);
  const spread = CONFIDENCE_Z * Math.sqrt(variance);
  const scale = 1 + z2 / requests;
  return { share, low: (middle - spread) / scale, high: (middle + spread) / scale };
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

function ms(time: number): string {
  return `${time.toFixed(time < 10 ? 2 : 0)} ms`;
}
