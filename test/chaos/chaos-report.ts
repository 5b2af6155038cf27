// Figures of a chaos run, from what callers logged and what was dealt; and the targets they missed.

import type { StreamLog } from "../../deploy/load/stream-log.ts";
import { FinishReason } from "../../proto/gen/isthmus/v1/inference_pb.ts";
import type { AuditVerdict } from "./argmax-audit.ts";
import { type Cost, costOf } from "./fault-cost.ts";
import type { FaultRecord } from "./fault-record.ts";
import type { FaultKind } from "./fault-schedule.ts";
import { longestStalls } from "./stall.ts";

const IDENTICAL_SHARE_MIN = 0.98;
const DETECTION_P99_MAX_MS = 2000;
const REGION_GAP_P99_MAX_MS = 1000;

/** Half and nearly all; null where nothing was measured. */
export interface Percentiles {
  readonly count: number;
  readonly p50: number | null;
  readonly p99: number | null;
}

export interface KindFigures {
  readonly kind: FaultKind;
  readonly dealt: number;
  /** Streams that the victims served when they were struck. */
  readonly midway: number;
  /** Of these, the ones that went on elsewhere. */
  readonly moved: number;
  readonly detectionMs: Percentiles;
  /** From the blow to the next token of the streams that moved. */
  readonly gapMs: Percentiles;
  /** From the end of the fault to a mesh that is whole. */
  readonly recoveryMs: Percentiles;
}

export interface ChaosInput {
  readonly seed: number;
  readonly seconds: number;
  readonly logs: readonly StreamLog[];
  readonly faults: readonly FaultRecord[];
  readonly missing: ReadonlySet<FaultKind>;
  readonly audit: AuditVerdict;
  /** What each question is answered when nothing disturbs, by its id. */
  readonly undisturbed: ReadonlyMap<string, string>;
  /** Processes that ended though nobody ended them. */
  readonly crashes: readonly string[];
  /** The longest that this process, with its callers and its links, stood still itself. */
  readonly ownStallMs: number;
}

export type ChaosFigures = ReturnType<typeof figuresOf>;

export interface ChaosReport extends ChaosFigures {
  /** Targets that weren't met, in words; empty when all were. */
  readonly missed: readonly string[];
}

export function reportOf(input: ChaosInput): ChaosReport {
  const figures = figuresOf(input);
  return { ...figures, missed: missedTargets(figures) };
}

function figuresOf(input: ChaosInput) {
  const { seed, seconds, logs, faults, missing, audit, crashes, ownStallMs } = input;
  const ours = logs.filter((log) => !fellWithItsDoor(log, faults));
  const acknowledged = ours.filter((log) => log.isAcknowledged);
  const complete = acknowledged.filter((log) => log.isComplete);
  const costs = faults.map((fault) => costOf(fault, logs));
  const detection = costs.flatMap(({ detectionMs }) => (detectionMs === null ? [] : [detectionMs]));
  return {
    seed,
    seconds,
    requests: ours.length,
    acknowledged: acknowledged.length,
    complete: complete.length,
    /** Acknowledged and then not completed, by reason. */
    failed: counted(acknowledged.filter((log) => !log.isComplete).map(({ failure }) => failure)),
    /** Refused before anything was delivered, as often as they tried. */
    refused: counted(ours.filter((log) => !log.isAcknowledged).map(({ failure }) => failure)),
    /** Tries that were refused and made again. */
    retries: sum(ours.map(({ refusals }) => refusals)),
    /** Plain callers whose own gateway or edge was the victim: nothing can keep these. */
    fellWithTheirDoor: logs.length - ours.length,
    moved: complete.filter((log) => log.isMoved).length,
    moves: sum(complete.map(({ finished }) => finished?.moves.length ?? 0)),
    lost: sum(logs.map(({ lost }) => lost)),
    doubled: sum(logs.map(({ doubled }) => doubled)),
    broken: logs.flatMap(({ broken }) => broken),
    /** Constrained answers that are no JSON. */
    misfits: complete.filter((log) => !log.question.isFree && !isJson(log)).length,
    tokens: sum(complete.map(({ ids }) => ids.length)),
    audit,
    /** Of the streams whose answers hang on no near-tie anyway. */
    identicalShare: identicalShare(complete, input),
    identicalShareOfMoved: identicalShare(
      complete.filter((log) => log.isMoved),
      input,
    ),
    ttftMs: {
      calm: percentiles(ttfts(complete, faults, false)),
      disturbed: percentiles(ttfts(complete, faults, true)),
    },
    detectionMs: percentiles(detection),
    regionLossGapMs: percentiles(
      costs.filter(({ kind }) => kind === "region-loss").flatMap(({ gapsMs }) => gapsMs),
    ),
    faults: kindFigures(faults, costs),
    missing: [...missing],
    problems: faults.flatMap(({ kind, victim, problem }) =>
      problem === "" ? [] : [`${kind} of ${victim.name}: ${problem}`],
    ),
    crashes,
    /** By whom complete streams were begun; a rollout shows as several. */
    versions: counted(complete.map(({ started }) => started?.version ?? "")),
    causes: counted(
      complete.flatMap(({ finished }) => finished?.moves ?? []).map(({ cause }) => cause),
    ),
    stalls: longestStalls(ours, faults),
    ownStallMs,
  };
}

function missedTargets(figures: ChaosFigures): string[] {
  const { acknowledged, complete, audit } = figures;
  const over = (value: number | null, max: number) => value !== null && value >= max;
  const claims: [boolean, string][] = [
    [acknowledged === 0, "no request was acknowledged"],
    [complete < acknowledged, `${acknowledged - complete} acknowledged requests are incomplete`],
    [figures.lost > 0, `${figures.lost} tokens were lost`],
    [figures.doubled > 0, `${figures.doubled} tokens were doubled`],
    [figures.broken.length > 0, `streams out of order: ${figures.broken.slice(0, 3).join("; ")}`],
    [figures.misfits > 0, `${figures.misfits} constrained answers don't fit their schema`],
    [audit.wrong > 0, `${audit.wrong} streams hold a token that is no argmax`],
    [audit.truncated > 0, `${audit.truncated} streams end where the model goes on`],
    [
      (figures.identicalShare ?? 1) < IDENTICAL_SHARE_MIN,
      `only ${figures.identicalShare} of the streams are byte-identical`,
    ],
    [
      over(figures.detectionMs.p99, DETECTION_P99_MAX_MS),
      `detection takes ${figures.detectionMs.p99} ms at p99`,
    ],
    [
      over(figures.regionLossGapMs.p99, REGION_GAP_P99_MAX_MS),
      `a region's loss costs ${figures.regionLossGapMs.p99} ms to the next token at p99`,
    ],
    ...figures.problems.map((problem): [boolean, string] => [true, problem]),
    ...figures.crashes.map((crash): [boolean, string] => [true, crash]),
  ];
  return claims.filter(([isMissed]) => isMissed).map(([, claim]) => claim);
}

/** Cut off midway, at a door that a fault took down before the stream's end. */
function fellWithItsDoor(log: StreamLog, faults: readonly FaultRecord[]): boolean {
  if (log.isComplete || log.door.kind === "sdk") return false;
  return faults.some(
    ({ victim, dealtMs, healedMs }) =>
      victim.doors.includes(log.door.name) && overlaps(log, dealtMs, healedMs),
  );
}

function overlaps({ openedMs, endedMs }: StreamLog, fromMs: number, untilMs: number): boolean {
  return openedMs <= (untilMs || Infinity) && (endedMs || Infinity) >= fromMs;
}

function ttfts(logs: readonly StreamLog[], faults: readonly FaultRecord[], during: boolean) {
  return logs.flatMap((log) => {
    const [first] = log.tokenMs;
    if (first === undefined) return [];
    const isDisturbed = faults.some(
      ({ dealtMs, wholeMs, healedMs }) =>
        log.openedMs <= (wholeMs || healedMs || Infinity) && first >= dealtMs,
    );
    return isDisturbed === during ? [first - log.openedMs] : [];
  });
}

function identicalShare(
  logs: readonly StreamLog[],
  { undisturbed }: Pick<ChaosInput, "undisturbed">,
): number | null {
  const steady = logs.filter(({ question }) => question.isSteady);
  if (steady.length === 0) return null;
  const same = steady.filter(({ question, text }) => undisturbed.get(question.id) === text).length;
  return Number((same / steady.length).toFixed(4));
}

/** One that used up its tokens has no end to judge. */
function isJson({ text, finished }: StreamLog): boolean {
  if (finished?.reason === FinishReason.LENGTH) return true;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function kindFigures(faults: readonly FaultRecord[], costs: readonly Cost[]): KindFigures[] {
  return [...new Set(faults.map(({ kind }) => kind))].sort().map((kind) => {
    const dealt = faults.filter((fault) => fault.kind === kind);
    const cost = costs.filter((one) => one.kind === kind);
    return {
      kind,
      dealt: dealt.length,
      midway: sum(dealt.map(({ midway }) => midway)),
      moved: sum(cost.map(({ gapsMs }) => gapsMs.length)),
      detectionMs: percentiles(
        cost.flatMap(({ detectionMs }) => (detectionMs === null ? [] : [detectionMs])),
      ),
      gapMs: percentiles(cost.flatMap(({ gapsMs }) => gapsMs)),
      recoveryMs: percentiles(
        dealt.flatMap(({ healedMs, wholeMs }) => (wholeMs === 0 ? [] : [wholeMs - healedMs])),
      ),
    };
  });
}

/** Nearest rank: of few values, p99 is the largest. */
export function percentiles(values: readonly number[]): Percentiles {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number) => {
    const value = sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
    return value === undefined ? null : Math.round(value);
  };
  return { count: sorted.length, p50: at(0.5), p99: at(0.99) };
}

function counted(reasons: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const reason of reasons) counts[reason] = (counts[reason] ?? 0) + 1;
  return counts;
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
