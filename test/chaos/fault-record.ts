// What one dealt fault was, when, and what was seen of it.
import type { FaultKind } from "./fault-schedule.ts";

/** Whom a fault strikes. */
export interface Victim {
  /** As people know it: an edge, a region, a server, or two regions. */
  readonly name: string;
  /** Regions that aren't whole meanwhile. */
  readonly regions: readonly string[];
  /** Edges whose streams must go elsewhere. */
  readonly edges: readonly string[];
  /** Doors that go down with it: plain callers there are cut off whatever the mesh does. */
  readonly doors: readonly string[];
  /** The region whose membership should notice; empty when none is left to. */
  readonly watcher: string;
}

export interface FaultRecord {
  readonly kind: FaultKind;
  readonly victim: Victim;
  /** Streams that the victim's edges served at that moment. */
  readonly midway: number;
  readonly dealtMs: number;
  /** When it was taken back; 0 while it lasts. */
  healedMs: number;
  /** When the mesh was whole again; 0 when it wasn't in time. */
  wholeMs: number;
  /** When membership called the victim anything but ready; null when it never did. */
  suspectedMs: number | null;
  /** What went wrong in dealing it or taking it back; empty when nothing did. */
  problem: string;
}
