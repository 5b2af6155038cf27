// Streams whose caller waited long for one token, and what was going on: where to look first when a
// target is missed.

import type { StreamLog } from "../../deploy/load/stream-log.ts";
import type { FaultRecord } from "./fault-record.ts";

/** Told at most, the longest first. */
const STALLS_TOLD = 8;
const STALL_MIN_MS = 1000;

export interface Stall {
  readonly ms: number;
  /** The position that was so late: 0 is the first token, the last one may be the end. */
  readonly atToken: number;
  readonly door: string;
  /** Who served it at first. */
  readonly edge: string;
  /** Where it went, and why. */
  readonly moves: readonly string[];
  readonly refusals: number;
  /** Faults that lasted at some time of the wait. */
  readonly during: readonly string[];
}

export function longestStalls(logs: readonly StreamLog[], faults: readonly FaultRecord[]): Stall[] {
  return logs
    .map((log) => stallOf(log, faults))
    .filter(({ ms }) => ms >= STALL_MIN_MS)
    .sort((a, b) => b.ms - a.ms)
    .slice(0, STALLS_TOLD);
}

function stallOf(log: StreamLog, faults: readonly FaultRecord[]): Stall {
  const times = [log.openedMs, ...log.tokenMs, log.endedMs || log.openedMs];
  let atToken = 0;
  for (let at = 1; at + 1 < times.length; at += 1) {
    if (waitOf(times, at) > waitOf(times, atToken)) atToken = at;
  }
  const ms = waitOf(times, atToken);
  const [fromMs = 0, untilMs = 0] = times.slice(atToken);
  return {
    ms: Math.round(ms),
    atToken,
    door: `${log.door.kind} ${log.door.name}`,
    edge: log.started?.edge ?? "",
    moves: (log.finished?.moves ?? []).map(
      (move) => `${move.fromEdge} > ${move.toEdge} at ${move.atToken}: ${move.cause}`,
    ),
    refusals: log.refusals,
    during: faults
      .filter(({ dealtMs, wholeMs, healedMs }) => {
        const endMs = wholeMs || healedMs || Number.POSITIVE_INFINITY;
        return dealtMs <= untilMs && endMs >= fromMs;
      })
      .map(({ kind, victim }) => `${kind} of ${victim.name}`),
  };
}

function waitOf(times: readonly number[], at: number): number {
  return (times[at + 1] ?? 0) - (times[at] ?? 0);
}
