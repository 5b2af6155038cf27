// The table of what each fault cost, for a terminal and as Markdown.
import type { FaultCost } from "./fault-cost.ts";

const HEAD = [
  "fault",
  "victim",
  "streams",
  "complete",
  "moved",
  "lost",
  "fell with door",
  "detection ms",
  "whole after s",
  "TTFT p50 ms",
  "TTFT p99 ms",
  "note",
];
/** From the third column on, but for the last, there are numbers. */
const FIRST_NUMBER = 2;
const MS_A_SECOND = 1000;

export function textTable(costs: readonly FaultCost[]): string {
  const rows = [HEAD, ...costs.map(cellsOf)];
  const widths = HEAD.map((_, at) => Math.max(...rows.map((row) => row[at]?.length ?? 0)));
  const line = (row: readonly string[]) =>
    row
      .map((cell, at) =>
        isNumber(at) ? cell.padStart(widths[at] ?? 0) : cell.padEnd(widths[at] ?? 0),
      )
      .join("  ")
      .trimEnd();
  return rows.map(line).join("\n");
}

export function markdownTable(costs: readonly FaultCost[]): string {
  const line = (row: readonly string[]) => `| ${row.join(" | ")} |`;
  const rule = HEAD.map((_, at) => (isNumber(at) ? "---:" : "---"));
  return [HEAD, rule, ...costs.map(cellsOf)].map(line).join("\n");
}

function cellsOf(cost: FaultCost): string[] {
  const { name, victim, streams, complete, moved, lost, fell, note } = cost;
  const { detectionMs, wholeAfterMs, ttftP50Ms, ttftP99Ms } = cost;
  const counts = [streams, complete, moved, lost, fell].map(String);
  const whole = (wholeAfterMs / MS_A_SECOND).toFixed(1);
  return [
    ...[name, victim, ...counts, orDash(detectionMs), whole],
    ...[orDash(ttftP50Ms), orDash(ttftP99Ms), note],
  ];
}

function isNumber(at: number): boolean {
  return at >= FIRST_NUMBER && at < HEAD.length - 1;
}

function orDash(value: number | null): string {
  return value === null ? "-" : String(value);
}
