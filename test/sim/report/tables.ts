// What `npm run simulate` prints for people.
import type { SimulationResult } from "../simulation.ts";
import { type PolicyRun, type Standing, TARGET_RATIO } from "./comparison.ts";
import { slo } from "./metrics.ts";

const columns = [
  ["policy", 15],
  ["p50 ms", 9],
  ["p95 ms", 9],
  ["p99 ms", 9],
  ["goodput/s", 11],
  ["in SLO", 8],
  ["failed", 8],
  ["cached", 8],
  ["used", 7],
  ["cross MB", 10],
  ["J/token", 9],
] as const;

export function headOfTable(): string {
  return columns.map(([name, width]) => cell(name, width)).join("");
}

export function rowOf({ policy, metrics }: PolicyRun): string {
  const { ttftMs, requests, completed } = metrics;
  const values = [
    policy,
    ...[ttftMs.p50, ttftMs.p95, ttftMs.p99].map((ms) => ms.toFixed(0)),
    metrics.goodputPerS.toFixed(2),
    percent(metrics.goodputShare),
    String(requests - completed),
    percent(metrics.cachedShare),
    percent(metrics.utilisation),
    metrics.crossRegionMB.toFixed(2),
    metrics.joulesPerToken.toFixed(2),
  ];
  return values.map((value, at) => cell(value, columns[at]![1])).join("");
}

export function verdictOf({ best, ratio, isMet }: Standing): string {
  const verdict = isMet ? "met" : ratio <= 1 ? "not met, but no worse" : "MISSED: worse";
  return (
    `${verdict}: our p99 is ${ratio.toFixed(2)} of the best other's (${best}), ` +
    `target ${TARGET_RATIO}`
  );
}

export const sloLine =
  `SLO: first token within ${slo.ttftMs} ms and ${slo.tpotMs} ms a token after it. ` +
  "Requests that got nothing count as 30 s.";

export function auditLines(result: SimulationResult, tookMs: number, cpuMs: number): string[] {
  const { mesh, records, faults, trace, events, ratePerS } = result;
  const outcomes = new Map<string, number>();
  for (const { fault } of records) {
    const name = fault || "finished";
    outcomes.set(name, (outcomes.get(name) ?? 0) + 1);
  }
  const tokens = records.reduce((sum, each) => sum + each.tokens, 0);
  const moved = records.filter(({ moves }) => moves > 0).length;
  const struck = new Map<string, number>();
  for (const { kind } of faults) struck.set(kind, (struck.get(kind) ?? 0) + 1);
  return [
    `${mesh.edges.length} edges, ${mesh.regions.length} regions, ${ratePerS.toFixed(1)} requests/s`,
    `${events} events, ${mesh.beats.sent} heartbeats (${mesh.beats.lost} lost)`,
    `${(tookMs / 1000).toFixed(1)} s, ${(cpuMs / 1000).toFixed(1)} s of CPU`,
    `requests: ${listed(outcomes)}`,
    `${tokens} tokens delivered, ${moved} streams moved, ${mesh.spills} sent to other regions`,
    `faults: ${faults.length === 0 ? "none" : listed(struck)}`,
    `trace: ${trace}`,
    ...mesh.auditor.violations
      .slice(0, 10)
      .map(({ rule, atMs, detail }) => `VIOLATION ${rule} at ${Math.round(atMs)} ms: ${detail}`),
    mesh.auditor.isClean
      ? "audit: clean (outcomes, tokens, text, slots, residency, loops, nothing left over)"
      : `audit: ${mesh.auditor.total} violations: ${listed(mesh.auditor.counts)}`,
  ];
}

function listed(counts: ReadonlyMap<string, number>): string {
  return [...counts]
    .sort(([, a], [, b]) => b - a)
    .map(([name, count]) => `${count} ${name}`)
    .join(", ");
}

function cell(value: string, width: number): string {
  return width > 12 ? value.padEnd(width) : value.padStart(width);
}

const percent = (share: number): string => `${(share * 100).toFixed(0)} %`;
