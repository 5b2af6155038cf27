// What a campaign looks like in a terminal: one line for each step, and a table at the end. Pure.
import type { Evaluation } from "../catalogue/model-record.ts";
import type { CampaignState, RoundSummary } from "../rounds/campaign-state.ts";
import { exactPoints } from "../rounds/gate.ts";
import { bytesText, table } from "./terminal.ts";

export function evaluationsText(evaluations: readonly Evaluation[]): string {
  const parts = evaluations.map((set) => `${set.dataset} ${exactPoints(set).toFixed(0)} %`);
  return parts.join(", ") || "-";
}

export function roundLine(round: RoundSummary, rounds: number): string {
  const parts = [`round ${round.number} of ${rounds}: ${round.phase}`];
  if (round.version !== null) parts.push(round.version);
  parts.push(bucketsText(round.buckets));
  if (round.examples > 0) {
    parts.push(`loss ${round.lossBefore.toFixed(3)} → ${round.lossAfter.toFixed(3)}`);
    parts.push(bytesText(round.deltaBytes));
  }
  if (round.evaluations.length > 0) parts.push(evaluationsText(round.evaluations));
  const lines = [parts.filter((part) => part !== "").join("; ")];
  if (round.reason !== "") lines.push(`  ${round.reason}`);
  for (const { region, reason } of round.excluded) lines.push(`  ${region} left out: ${reason}`);
  for (const { edge, reason } of round.leftOut) lines.push(`  ${edge} not counted: ${reason}`);
  if (round.stragglers.length > 0) lines.push(`  not yet served by ${round.stragglers.join(", ")}`);
  return lines.join("\n");
}

/** Exact match for each set, before the campaign and now. */
export function beforeAndAfter({ baseline, latest }: CampaignState): string {
  const rows = (baseline ?? []).map((before) => {
    const after = latest?.find(({ dataset, public: isPublic }) => {
      return dataset === before.dataset && isPublic === before.public;
    });
    const change = after && exactPoints(after) - exactPoints(before);
    return [
      before.dataset,
      before.public ? "public, must keep" : "private",
      String(after?.examples ?? before.examples),
      percent(before),
      after === undefined ? "-" : percent(after),
      change === undefined ? "-" : `${change < 0 ? "" : "+"}${change.toFixed(1)}`,
    ];
  });
  return table(["dataset", "data", "examples", "before %", "after %", "change"], rows);
}

export function campaignRow(campaign: CampaignState): string[] {
  const { id, model, phase, past, rounds, good, reason } = campaign;
  const promoted = past.filter((round) => round.phase === "promoted").length;
  return [id, model, phase, `${past.length}/${rounds}`, String(promoted), good.version, reason];
}

function bucketsText(counts: Readonly<Record<string, number>>): string {
  const parts = Object.entries(counts).map(([bucket, count]) => `${count} ${bucket}`);
  return parts.join(", ") || "no edge took part";
}

function percent(set: Evaluation): string {
  return exactPoints(set).toFixed(1);
}
