// What each fault cost the streams that it touched: counted from the generators' lines.
import type { EndLine } from "../load/load-line.ts";

export interface FaultRecord {
  /** Of the fault, as in the table. */
  readonly name: string;
  readonly victim: string;
  /** The edges whose streams had to leave; empty where none had to. */
  readonly edges: readonly string[];
  /** The gateway that went with it: whoever has no SDK loses the connection with its door. */
  readonly doorOf: string | null;
  readonly dealtMs: number;
  /** When somebody in the mesh was seen to know; null when nobody needed to. */
  readonly noticedMs: number | null;
  /** When all was as before again. */
  readonly wholeMs: number;
  /** What else there is to say. */
  readonly note: string;
}

export interface FaultCost {
  readonly name: string;
  readonly victim: string;
  /** That ran at some time between the blow and the mesh being whole again. */
  readonly streams: number;
  readonly complete: number;
  readonly moved: number;
  readonly lost: number;
  /** Callers by plain HTTP whose own gateway was killed. */
  readonly fell: number;
  readonly detectionMs: number | null;
  readonly wholeAfterMs: number;
  readonly ttftP50Ms: number | null;
  readonly ttftP99Ms: number | null;
  readonly note: string;
}

export function costOf(fault: FaultRecord, ended: readonly EndLine[]): FaultCost {
  const { name, victim, dealtMs, wholeMs, noticedMs, note } = fault;
  const touched = ended.filter(
    ({ openedMs, endedMs }) => openedMs <= wholeMs && endedMs >= dealtMs,
  );
  const moved = touched.filter(({ moves }) => moves.some(({ atMs }) => isWithin(atMs, fault)));
  const fell = touched.filter((line) => fellWithDoor(line, fault));
  const went = moved.flatMap(({ moves }) =>
    moves.filter((move) => fault.edges.includes(move.fromEdge) && isWithin(move.atMs, fault)),
  );
  const signs = [...went, ...fell.map(({ endedMs }) => ({ atMs: endedMs }))].map(
    ({ atMs }) => atMs - dealtMs,
  );
  if (noticedMs !== null) signs.push(noticedMs - dealtMs);
  const ttfts = touched
    .filter(({ openedMs }) => openedMs >= dealtMs)
    .flatMap(({ openedMs, firstMs }) => (firstMs === null ? [] : [firstMs - openedMs]));
  const complete = touched.filter(({ outcome }) => outcome === "complete").length;
  return {
    ...{ name, victim, streams: touched.length, complete, moved: moved.length },
    lost: touched.length - complete - fell.length,
    fell: fell.length,
    detectionMs: signs.length === 0 ? null : Math.round(Math.min(...signs)),
    wholeAfterMs: Math.round(wholeMs - dealtMs),
    ttftP50Ms: percentile(ttfts, 0.5),
    ttftP99Ms: percentile(ttfts, 0.99),
    note,
  };
}

/** A plain HTTP connection ends with the gateway that holds it, and nothing can carry it on. */
export function fellWithDoor(line: EndLine, { doorOf, dealtMs, wholeMs }: FaultRecord): boolean {
  const { door, region, outcome, failure, endedMs } = line;
  const isThere = door === "http" && region === doorOf && outcome === "lost";
  return isThere && failure.startsWith("link-lost") && endedMs >= dealtMs && endedMs <= wholeMs;
}

/** Nearest rank; null of nothing. */
export function percentile(values: readonly number[], share: number): number | null {
  const sorted = [...values].sort((a, b) => a - b);
  const rank = Math.max(1, Math.ceil(share * sorted.length));
  const found = sorted[rank - 1];
  return found === undefined ? null : Math.round(found);
}

function isWithin(atMs: number, { dealtMs, wholeMs }: FaultRecord): boolean {
  return atMs >= dealtMs && atMs <= wholeMs;
}
