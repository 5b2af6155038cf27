// Brings the catalogue up to what a campaign has found out about its versions. Done after every
// transition and at the start, so that a crash in between leaves nothing unsaid.
import type { Catalogue } from "../catalogue/catalogue.ts";
import type { VersionRecord } from "../catalogue/model-record.ts";
import type { CampaignState, RoundState } from "./campaign-state.ts";

export function noteLineage(catalogue: Catalogue, campaign: CampaignState): void {
  if (campaign.baseline !== null && campaign.past.length === 0) {
    noteEvaluations(catalogue, campaign.startVersion, campaign.baseline);
  }
  for (const round of [campaign.last, campaign.round]) {
    if (round?.version == null) continue;
    noteEvaluations(catalogue, round.version, round.evaluations);
    const verdict = verdictOf(round);
    const known = catalogue.version(round.version);
    if (verdict !== undefined && known.verdict !== verdict) {
      catalogue.judged(round.version, verdict, round.reason);
    }
  }
}

function noteEvaluations(
  catalogue: Catalogue,
  version: string,
  evaluations: VersionRecord["evaluations"],
): void {
  const known = catalogue.version(version).evaluations;
  const isKnown = (set: object) => known.some((one) => JSON.stringify(one) === JSON.stringify(set));
  if (!evaluations.every(isKnown)) catalogue.evaluated(version, evaluations);
}

function verdictOf({ phase }: RoundState): VersionRecord["verdict"] | undefined {
  if (phase === "promoted") return "accepted";
  return phase === "rejected" || phase === "rolled-back" ? "rejected" : undefined;
}
