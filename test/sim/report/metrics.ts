// What a run comes to in figures.

import type { SimulationResult } from "../simulation.ts";
import { type CallRecord, PATIENCE_MS } from "../world/caller-site.ts";
import { decodeStepMs } from "../world/engine-profile.ts";

/** What callers are thought to want: the first token by then, and no slower than this after it. */
export const slo = { ttftMs: 1000, tpotMs: 150 } as const;
/** Requests of the first half minute find the mesh emptier than it will be. */
export const WARM_UP_MS = 30_000;

export interface Metrics {
  readonly requests: number;
  readonly completed: number;
  /** How the others ended. */
  readonly faults: Readonly<Record<string, number>>;
  readonly ttftMs: Percentiles;
  readonly tpotMs: Percentiles;
  /** Requests a second that met the SLO, and their share. */
  readonly goodputPerS: number;
  readonly goodputShare: number;
  /** Share of the engines' capacity that was used. */
  readonly utilisation: number;
  /** Share of prompt tokens that needed no reading. */
  readonly cachedShare: number;
  readonly spills: number;
  readonly crossRegionMB: number;
  readonly energyKWh: number;
  readonly joulesPerToken: number;
  readonly moves: number;
}

export interface Percentiles {
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
}

/** Pools the runs of several seeds. */
export function measure(results: readonly SimulationResult[]): Metrics {
  const records = results.flatMap((result) =>
    result.records.filter(({ issuedMs, fault }) => issuedMs >= WARM_UP_MS && fault !== "cancelled"),
  );
  const windowMs = (result: SimulationResult) => result.untilMs - WARM_UP_MS;
  const seconds = results.reduce((sum, result) => sum + windowMs(result), 0) / 1000;
  const good = records.filter(isGood).length;
  const faults: Record<string, number> = {};
  for (const { fault } of records) if (fault !== "") faults[fault] = (faults[fault] ?? 0) + 1;
  const work = results.map(workOf);
  const total = (pick: (each: Work) => number) => work.reduce((sum, each) => sum + pick(each), 0);
  const energyKWh = total(({ joules }) => joules) / 3.6e6;
  const meshes = results.map(({ mesh }) => mesh);
  return {
    requests: records.length,
    completed: records.filter(({ fault }) => fault === "").length,
    faults,
    ttftMs: percentilesOf(ttftsOf(records)),
    tpotMs: percentilesOf(records.filter(({ tokens }) => tokens > 1).map(tpotOf)),
    goodputPerS: good / seconds,
    goodputShare: good / Math.max(1, records.length),
    utilisation: total(({ used }) => used) / total(({ available }) => available),
    cachedShare: total(({ reused }) => reused) / total(({ reused, read }) => reused + read),
    spills: meshes.reduce((sum, { spills }) => sum + spills, 0),
    crossRegionMB: meshes.reduce((sum, { crossBytes }) => sum + crossBytes, 0) / 1e6,
    energyKWh,
    joulesPerToken:
      (energyKWh * 3.6e6) /
      Math.max(
        1,
        total(({ written }) => written),
      ),
    moves: records.reduce((sum, { moves }) => sum + moves, 0),
  };
}

/** One that got nothing counts as having waited for as long as a caller does, or longer. */
export function ttftsOf(records: readonly CallRecord[]): number[] {
  return records
    .map(({ issuedMs, firstTokenMs, endMs, tokens }) =>
      tokens > 0 ? firstTokenMs - issuedMs : Math.max(PATIENCE_MS, endMs - issuedMs),
    )
    .sort((a, b) => a - b);
}

export function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
}

function percentilesOf(values: readonly number[]): Percentiles {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number) => percentile(sorted, share);
  return { p50: at(0.5), p95: at(0.95), p99: at(0.99) };
}

function isGood(record: CallRecord): boolean {
  const { fault, firstTokenMs, issuedMs, tokens } = record;
  if (fault !== "" || firstTokenMs - issuedMs > slo.ttftMs) return false;
  return tokens < 2 || tpotOf(record) <= slo.tpotMs;
}

function tpotOf({ endMs, firstTokenMs, tokens }: CallRecord): number {
  return (endMs - firstTokenMs) / (tokens - 1);
}

interface Work {
  /** Of the capacity there was, in tokens at full load. */
  readonly used: number;
  readonly available: number;
  readonly reused: number;
  readonly read: number;
  readonly written: number;
  readonly joules: number;
}

function workOf({ mesh, records, seconds }: SimulationResult): Work {
  const work = { used: 0, available: 0, reused: 0, read: 0, written: 0, joules: 0 };
  const endMs = records.reduce((last, record) => Math.max(last, record.endMs), seconds * 1000);
  for (const { engine, options } of mesh.edges) {
    const { profile } = options;
    const { prefilled, generated, reused, busyMs } = engine;
    const tokenMs = decodeStepMs(profile, profile.slots) / profile.slots;
    const usedMs = (prefilled * 1000) / profile.prefillTokensPerS + generated * tokenMs;
    work.used += usedMs / tokenMs;
    work.available += endMs / tokenMs;
    work.reused += reused;
    work.read += prefilled;
    work.written += generated;
    work.joules += (busyMs * profile.watts + (endMs - busyMs) * profile.idleWatts) / 1000;
  }
  return work;
}
