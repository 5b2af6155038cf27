// What the edges have told of each version, kept through their restarts: an edge counts from zero
// again with each process and whenever a version begins to serve there anew.
import type { VersionHealth } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { EdgeHealth } from "./health-comparison.ts";
import { added, noSums, sumsOf, type VersionSums } from "./version-sums.ts";

/** Edges remembered; one beyond these counts for nothing. */
const EDGES_MAX = 20_000;
/** Versions of one edge, those told last; edges tell fewer. */
const VERSIONS_MAX = 64;

interface Entry {
  /** When the version began to serve there: another time is another count. */
  readonly sinceMs: bigint;
  readonly now: VersionSums;
  /** Counts that have ended. */
  readonly before: VersionSums;
}

export class HealthLedger {
  readonly #edges = new Map<string, Map<string, Entry>>();
  /** Counts of an earlier trial, which say nothing of this one: `<edge> <version> <since>`. */
  readonly #over = new Set<string>();

  /** Takes what an edge tells, `<region>/<edge>`; told again it changes nothing. */
  hear(edge: string, health: readonly VersionHealth[]): void {
    if (health.length === 0) return;
    const known = this.#edges.get(edge);
    if (known === undefined && this.#edges.size >= EDGES_MAX) return;
    const entries = known ?? new Map<string, Entry>();
    this.#edges.set(edge, entries);
    for (const told of health.slice(0, VERSIONS_MAX)) {
      if (this.#over.has(keyOf(edge, told.version, told.sinceMs))) continue;
      const entry = heard(entries.get(told.version), told);
      // The newest last.
      entries.delete(told.version);
      entries.set(told.version, entry);
    }
    for (const version of [...entries.keys()].slice(0, -VERSIONS_MAX)) entries.delete(version);
  }

  /** From now on only what is counted anew is told of the version. */
  begin(version: string): void {
    this.#over.clear();
    for (const [edge, entries] of this.#edges) {
      const entry = entries.get(version);
      if (entry === undefined) continue;
      this.#over.add(keyOf(edge, version, entry.sinceMs));
      entries.delete(version);
    }
  }

  /** Both versions on every edge that told of either. */
  rows(candidate: string, incumbent: string): readonly EdgeHealth[] {
    return [...this.#edges].flatMap(([edge, entries]) => {
      if (!entries.has(candidate) && !entries.has(incumbent)) return [];
      const sums = (version: string) => totalOf(entries.get(version));
      return [{ edge, candidate: sums(candidate), incumbent: sums(incumbent) }];
    });
  }

  /** A version over all edges. */
  total(version: string): VersionSums {
    const all = [...this.#edges.values()].map((entries) => totalOf(entries.get(version)));
    return all.reduce(added, noSums);
  }

  /** Requests that an edge has served by a version. */
  requestsOf(edge: string, version: string): number {
    return totalOf(this.#edges.get(edge)?.get(version)).requests;
  }
}

function heard(known: Entry | undefined, told: VersionHealth): Entry {
  const now = sumsOf(told);
  const { sinceMs } = told;
  if (known === undefined) return { sinceMs, now, before: noSums };
  if (known.sinceMs === sinceMs && now.requests >= known.now.requests) {
    return { ...known, now };
  }
  return { sinceMs, now, before: totalOf(known) };
}

function totalOf(entry: Entry | undefined): VersionSums {
  return entry === undefined ? noSums : added(entry.before, entry.now);
}

function keyOf(edge: string, version: string, sinceMs: bigint): string {
  return `${edge} ${version} ${sinceMs}`;
}
