// Does a candidate take longer than the incumbent, edge by edge? Times depend on the machine, so a
// candidate's mean on an edge is held against the incumbent's on the same edge. Where several edges
// have tried it, the finding must hold without the one that speaks most for it: no single machine
// that has a bad hour takes a version back. Pure.
import { deviationsOf, type Moments, varianceOf } from "./evidence.ts";

/** Fewer samples than these say nothing of a version on one edge, or of the rest of them. */
export const OWN_SAMPLES_MIN = 10;

/** Both versions' times on one edge. */
export interface EdgeTimes {
  readonly candidate: Moments;
  readonly incumbent: Moments;
}

export interface SlownessMargin {
  /** What is let pass: so many times the incumbent's, and so many milliseconds besides. */
  readonly ratio: number;
  readonly slackMs: number;
  /** Samples of each below which nothing is concluded. */
  readonly samples: number;
}

export interface Slowdown {
  /** Means over the candidate's samples: what it took, and what the incumbent takes there. */
  readonly tookMs: number;
  readonly expectedMs: number;
  readonly samples: number;
}

/** What one edge has to say of it. */
interface Finding {
  readonly samples: number;
  readonly tookMs: number;
  readonly expectedMs: number;
  /** Of the difference of the two. */
  readonly variance: number;
}

/**
 * Undefined unless the candidate is slower than the margin lets by what was measured, and surely
 * slower at all.
 */
export function slowdownOf(
  rows: readonly EdgeTimes[],
  margin: SlownessMargin,
): Slowdown | undefined {
  const findings = findingsOf(rows);
  const known = rows.reduce((sum, { incumbent }) => sum + incumbent.count, 0);
  const all = total(findings);
  if (known < margin.samples || all.samples < margin.samples) return undefined;
  if (!isSlower(all, margin)) return undefined;
  const others = total(withoutWorst(findings));
  if (others.samples >= OWN_SAMPLES_MIN && !isSlower(others, margin)) return undefined;
  const { samples, tookMs, expectedMs } = all;
  return { samples, tookMs: tookMs / samples, expectedMs: expectedMs / samples };
}

function isSlower(
  { samples, tookMs, expectedMs, variance }: Finding,
  { ratio, slackMs, samples: usual }: SlownessMargin,
): boolean {
  if (tookMs <= ratio * expectedMs + slackMs * samples) return false;
  return tookMs - expectedMs > deviationsOf(samples, usual) * Math.sqrt(variance);
}

/**
 * An edge on which the incumbent was hardly measured is held against its mean elsewhere, as far as
 * edges differ: with fewer than two others, nobody knows how far that is, and it says nothing.
 */
function findingsOf(rows: readonly EdgeTimes[]): readonly Finding[] {
  const known = rows.filter(({ incumbent }) => incumbent.count >= OWN_SAMPLES_MIN);
  const means = known.map(({ incumbent: { sum, count } }) => sum / count);
  const elsewhere = {
    sum: means.reduce((sum, mean) => sum + mean, 0),
    squareSum: means.reduce((sum, mean) => sum + mean ** 2, 0),
    count: means.length,
  };
  return rows.flatMap(({ candidate, incumbent }) => {
    const { count, sum } = candidate;
    if (count === 0) return [];
    const isKnown = incumbent.count >= OWN_SAMPLES_MIN;
    if (!isKnown && elsewhere.count < 2) return [];
    const { mean, variance } = isKnown ? meanOf(incumbent) : spreadOf(elsewhere);
    const own = count * varianceOf(candidate);
    const finding = { samples: count, tookMs: sum, expectedMs: count * mean };
    return [{ ...finding, variance: own + count ** 2 * variance }];
  });
}

/** A mean, and how far it may be off. */
function meanOf(moments: Moments) {
  return {
    mean: moments.sum / moments.count,
    variance: varianceOf(moments) / moments.count,
  };
}

/** What another edge's mean may be. */
function spreadOf(means: Moments) {
  return { mean: means.sum / means.count, variance: varianceOf(means) };
}

function total(findings: readonly Finding[]): Finding {
  const sum = (of: (finding: Finding) => number) =>
    findings.reduce((all, finding) => all + of(finding), 0);
  return {
    samples: sum(({ samples }) => samples),
    tookMs: sum(({ tookMs }) => tookMs),
    expectedMs: sum(({ expectedMs }) => expectedMs),
    variance: sum(({ variance }) => variance),
  };
}

function withoutWorst(findings: readonly Finding[]): readonly Finding[] {
  const excess = findings.map(({ tookMs, expectedMs }) => tookMs - expectedMs);
  const worst = excess.indexOf(Math.max(...excess));
  return findings.filter((_, i) => i !== worst);
}
