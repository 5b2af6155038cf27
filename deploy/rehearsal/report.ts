// What a rehearsal came to: the cost of each fault, and everything that must not have happened.
import type { EndLine } from "../load/load-line.ts";
import {
  costOf,
  type FaultCost,
  type FaultRecord,
  fellWithDoor,
  percentile,
} from "./fault-cost.ts";

export interface Calm {
  /** Streams of callers in each region before any fault, one caller at a time. */
  readonly region: string;
  readonly streams: number;
  readonly nearest: number;
}

export interface RehearsalReport {
  readonly nearest: readonly Calm[];
  readonly streams: number;
  readonly complete: number;
  readonly tokens: number;
  readonly refusals: number;
  readonly ttftP50Ms: number | null;
  readonly ttftP99Ms: number | null;
  readonly costs: readonly FaultCost[];
  /** What went wrong; nothing in a good rehearsal. */
  readonly missed: readonly string[];
}

const FAILURES_TOLD = 20;

/** `missed` are further things that went wrong, beside what the streams show. */
export function reportOf(
  nearest: readonly Calm[],
  faults: readonly FaultRecord[],
  ended: readonly EndLine[],
  missed: readonly string[],
): RehearsalReport {
  const complete = ended.filter(({ outcome }) => outcome === "complete");
  const broken = ended.filter(
    (line) => line.outcome !== "complete" && !faults.some((fault) => fellWithDoor(line, fault)),
  );
  const far = nearest.filter((calm) => calm.streams === 0 || calm.nearest < calm.streams);
  const ttfts = complete.flatMap(({ openedMs, firstMs }) =>
    firstMs === null ? [] : [firstMs - openedMs],
  );
  return {
    nearest,
    streams: ended.length,
    complete: complete.length,
    tokens: ended.reduce((sum, { tokens }) => sum + tokens, 0),
    refusals: ended.reduce((sum, { refusals }) => sum + refusals, 0),
    ttftP50Ms: percentile(ttfts, 0.5),
    ttftP99Ms: percentile(ttfts, 0.99),
    costs: faults.map((fault) => costOf(fault, ended)),
    missed: [
      ...far.map(
        ({ region, streams, nearest: near }) =>
          `${near} of ${streams} streams from ${region} were served there`,
      ),
      ...broken.slice(0, FAILURES_TOLD).map(toldFailure),
      ...(ended.length === 0 ? ["no stream ran"] : []),
      ...missed,
    ],
  };
}

function toldFailure({ region, door, id, outcome, edge, failure }: EndLine): string {
  const who = `stream ${id} from ${region} by ${door}, begun at ${edge || "nobody"}`;
  return `${who}: ${outcome}: ${failure}`;
}
