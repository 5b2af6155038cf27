// A chaos report for people.
import type { ChaosReport, Percentiles } from "./chaos-report.ts";

export function reportText(report: ChaosReport): string {
  const verdict =
    report.missed.length === 0
      ? ["met: every target"]
      : report.missed.map((target) => `MISSED: ${target}`);
  const parts = [summary(report), times(report), faultTable(report), waits(report), verdict];
  return parts.map((lines) => lines.join("\n")).join("\n\n");
}

function summary(report: ChaosReport): string[] {
  const { requests, acknowledged, complete, audit } = report;
  const refused = Object.values(report.refused).reduce((sum, count) => sum + count, 0);
  return [
    `requests   ${requests}, acknowledged ${acknowledged}, complete ${complete}`,
    ...reasons(report.failed),
    `refused    ${refused} for good, ${report.retries} tries made again`,
    ...reasons(report.refused),
    `doors      ${report.fellWithTheirDoor} plain callers fell with their own gateway or edge`,
    `moved      ${report.moved} streams in ${report.moves} moves, by ${pairs(report.causes)}`,
    `versions   ${pairs(report.versions)}`,
    `tokens     ${report.tokens}, lost ${report.lost}, doubled ${report.doubled}, ` +
      `truncated streams ${audit.truncated}, misfits ${report.misfits}`,
    `argmax     ${audit.streams} streams judged, ${audit.wrong} wrong, ` +
      `worst gap ${audit.worstGap.toFixed(4)} logits`,
    `identical  ${report.identicalShare} of all, ${report.identicalShareOfMoved} of the moved`,
  ];
}

function times({ ttftMs, detectionMs, regionLossGapMs, ownStallMs }: ChaosReport): string[] {
  return [
    `TTFT       calm: ${percentiles(ttftMs.calm)}; in faults: ${percentiles(ttftMs.disturbed)}`,
    `detection  ${percentiles(detectionMs)}`,
    `next token after a region's loss: ${percentiles(regionLossGapMs)}`,
    `the callers and links of this run stood still for ${ownStallMs} ms at most`,
  ];
}

const COLUMNS = [18, 5, 7, 6, 10, 7, 12, 7, 13] as const;

function faultTable({ faults, missing }: ChaosReport): string[] {
  const head = [
    "fault",
    "dealt",
    "midway",
    "moved",
    "noticed",
    "p99",
    "next token",
    "p99",
    "whole",
  ];
  const rows = faults.map(({ kind, dealt, midway, moved, ...figures }) => {
    const { detectionMs, gapMs, recoveryMs } = figures;
    const measured = [detectionMs.p50, detectionMs.p99, gapMs.p50, gapMs.p99, recoveryMs.p50];
    return [kind, dealt, midway, moved, ...measured.map((ms) => ms ?? "-")];
  });
  const text = (cells: readonly (string | number)[]) =>
    cells
      .map((cell, at) => {
        const width = COLUMNS[at] ?? 0;
        return at === 0 ? String(cell).padEnd(width) : String(cell).padStart(width);
      })
      .join("");
  return [text(head), ...rows.map(text), ...missing.map((kind) => `${kind}: not offered here`)];
}

function waits({ stalls }: ChaosReport): string[] {
  if (stalls.length === 0) return ["nobody waited a second for a token"];
  const lines = stalls.map(({ ms, atToken, door, edge, moves, refusals, during }) => {
    const went = moves.length === 0 ? "" : `; ${moves.join(", ")}`;
    const tried = refusals === 0 ? "" : `, refused ${refusals} times`;
    const cause = during.join(", ") || "nothing";
    const who = `${door} by ${edge || "nobody"}`;
    return `  ${ms} ms at ${atToken}, ${who}${tried}${went}; during ${cause}`;
  });
  return ["longest waits for a token:", ...lines];
}

function percentiles({ count, p50, p99 }: Percentiles): string {
  return count === 0 ? "not measured" : `p50 ${p50} ms, p99 ${p99} ms (${count})`;
}

function reasons(counts: Readonly<Record<string, number>>): string[] {
  return Object.entries(counts).map(([reason, count]) => `  ${count} × ${reason}`);
}

function pairs(counts: Readonly<Record<string, number>>): string {
  const all = Object.entries(counts).map(([name, count]) => `${name} ${count}`);
  return all.join(", ") || "none";
}
