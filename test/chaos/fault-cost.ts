// What one fault cost the streams that it struck: how soon it was noticed, and when they went on.

import type { StreamLog } from "../../deploy/load/stream-log.ts";
import type { FaultRecord } from "./fault-record.ts";
import type { FaultKind } from "./fault-schedule.ts";

export interface Cost {
  readonly kind: FaultKind;
  /**
   * From the blow until membership doubted the victim or the first of its streams went on
   * elsewhere; null when neither happened, or when there was nothing to detect.
   */
  readonly detectionMs: number | null;
  /** From the blow to the next token of each stream that left the victim for it. */
  readonly gapsMs: readonly number[];
}

/** Kinds that nobody announces: the mesh must find out by itself. */
const silentKinds: ReadonlySet<FaultKind> = new Set<FaultKind>([
  "edge-kill",
  "edge-freeze",
  "engine-kill",
  "engine-freeze",
  "link-black-hole",
  "link-one-way",
  "gateway-kill",
  "region-loss",
  "region-dark",
]);

export function costOf(fault: FaultRecord, logs: readonly StreamLog[]): Cost {
  const { kind, dealtMs, suspectedMs } = fault;
  const gapsMs = logs.flatMap((log) => gapsOf(log, fault));
  const noticed = [...(suspectedMs === null ? [] : [suspectedMs - dealtMs]), ...gapsMs];
  const isDetectable = silentKinds.has(kind) && noticed.length > 0;
  return { kind, gapsMs, detectionMs: isDetectable ? Math.min(...noticed) : null };
}

/** Of one stream: it was at the victim when the blow fell, and went on elsewhere afterwards. */
function gapsOf(log: StreamLog, { victim, dealtMs }: FaultRecord): number[] {
  if (log.finished === null || log.startedMs > dealtMs || log.endedMs < dealtMs) return [];
  const first = log.finished.moves
    .filter(({ fromEdge }) => isOf(fromEdge, victim))
    .map(({ atToken }) => log.afterMs(atToken))
    .find((ms) => ms >= dealtMs);
  return first === undefined ? [] : [first - dealtMs];
}

/** A stream through a gateway that is lost leaves "no edge" where only the region is known. */
function isOf(fromEdge: string, { name, edges }: FaultRecord["victim"]): boolean {
  return edges.includes(fromEdge) || (edges.length === 0 && fromEdge.startsWith(`${name}-`));
}
