// What a load generator prints of each stream, one JSON object a line: that it is served now, and
// what it came to. All times are Unix milliseconds.
import type { StreamLog } from "./stream-log.ts";

/** One stream is being served. */
export interface StartLine {
  readonly event: "start";
  /** The region that its caller is in. */
  readonly region: string;
  readonly id: number;
  readonly door: "sdk" | "http";
  /** Empty for a caller by HTTP, which learns it at the end. */
  readonly edge: string;
  readonly atMs: number;
}

export interface MoveLine {
  readonly fromEdge: string;
  readonly toEdge: string;
  readonly cause: string;
  /** When the first token came from where it went. */
  readonly atMs: number;
}

/** One stream is over. */
export interface EndLine {
  readonly event: "end";
  readonly region: string;
  readonly id: number;
  readonly door: "sdk" | "http";
  /** `complete`; `lost` midway; `refused` before its first token, again and again. */
  readonly outcome: "complete" | "lost" | "refused";
  /** Why it isn't complete. */
  readonly failure: string;
  /** Where it began. */
  readonly edge: string;
  readonly servedIn: string;
  readonly version: string;
  readonly moves: readonly MoveLine[];
  readonly tokens: number;
  /** Refusals before it began, each tried again. */
  readonly refusals: number;
  readonly openedMs: number;
  readonly firstMs: number | null;
  readonly endedMs: number;
}

/** What the generator says of itself. */
export interface StateLine {
  readonly event: "ready" | "stopping" | "done";
  readonly region: string;
  readonly atMs: number;
}

export type LoadLine = StartLine | EndLine | StateLine;

export function startLine(region: string, id: number, log: StreamLog): StartLine {
  const { edge = "" } = log.started ?? {};
  return { event: "start", region, id, door: doorOf(log), edge, atMs: log.startedMs };
}

export function endLine(region: string, id: number, log: StreamLog): EndLine {
  const { edge = "", region: servedIn = "", version = "" } = log.started ?? {};
  const faults = [log.failure, ...log.broken];
  if (log.lost > 0) faults.push(`${log.lost} tokens are missing`);
  if (log.doubled > 0) faults.push(`${log.doubled} tokens came twice`);
  const failure = faults.filter((fault) => fault !== "").join("; ");
  const missed = log.isAcknowledged ? "lost" : "refused";
  return {
    ...{ event: "end", region, id, door: doorOf(log) },
    outcome: log.isComplete && failure === "" ? "complete" : missed,
    ...{ failure, edge, servedIn, version },
    moves: (log.finished?.moves ?? []).map(({ fromEdge, toEdge, cause, atToken }) => ({
      ...{ fromEdge, toEdge, cause },
      atMs: log.afterMs(atToken),
    })),
    tokens: log.ids.length,
    refusals: log.refusals,
    openedMs: log.openedMs,
    firstMs: log.tokenMs[0] ?? null,
    endedMs: log.endedMs,
  };
}

function doorOf({ door }: StreamLog): "sdk" | "http" {
  return door.kind === "sdk" ? "sdk" : "http";
}
