// Holds a campaign's records against what its edges were told: nothing acknowledged may be lost or
// counted twice.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { VersionRecord } from "../../coordinator/catalogue/model-record.ts";
import type { CampaignState, RoundState } from "../../coordinator/rounds/campaign-state.ts";
import type { TestMesh } from "./test-mesh.ts";

/** What an edge remembers of one round. */
interface ToldJob {
  readonly phase: "accepted" | "trained" | "done" | "failed";
  readonly outcome: string;
}

async function get<T>(mesh: TestMesh, path: string): Promise<T> {
  const answer = await fetch(`${mesh.http("coordinator")}${path}`);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return (await answer.json()) as T;
}

function jobOf(dir: string, campaign: string, round: number): ToldJob | undefined {
  const path = join(dir, "learning", "jobs", `${campaign}.${round}`, "job.json");
  try {
    return JSON.parse(readFileSync(path, "utf8")) as ToldJob;
  } catch {
    // Never invited to that round.
    return undefined;
  }
}

/** Whether no edge is still on its way to a last word. */
export function haveAllEnded(mesh: TestMesh, campaign: CampaignState): boolean {
  return mesh.handle.layout.regions
    .flatMap(({ edges }) => edges)
    .every(({ dir }) =>
      campaign.past.every(({ number }) => {
        const job = jobOf(dir, campaign.id, number);
        return job === undefined || job.phase === "done" || job.phase === "failed";
      }),
    );
}

/** Everything that is wrong with a campaign's records. Requires that all jobs have ended. */
export async function discrepancies(mesh: TestMesh, campaign: CampaignState): Promise<string[]> {
  const { lineage } = await get<{ lineage: VersionRecord[] }>(mesh, `/v1/models/${campaign.model}`);
  const wrong: string[] = [];
  for (const { number } of campaign.past) {
    const path = `/v1/campaigns/${campaign.id}/rounds/${number}`;
    const round = await get<RoundState>(mesh, path);
    wrong.push(...ofRound(round, toldOf(mesh, campaign.id, number), lineage, campaign.id));
  }
  return wrong;
}

/** `<region>/<edge>` of everyone who was told that its delta is in. */
function toldOf(mesh: TestMesh, campaign: string, round: number): string[] {
  return mesh.handle.layout.regions
    .flatMap(({ edges }) => edges)
    .filter(({ dir }) => jobOf(dir, campaign, round)?.phase === "done")
    .map(({ region, name }) => `${region}/${name}`)
    .sort();
}

function ofRound(
  round: RoundState,
  told: readonly string[],
  lineage: readonly VersionRecord[],
  campaign: string,
): string[] {
  const seats = round.regions.flatMap(({ region, edges }) =>
    edges.map((edge) => ({ ...edge, name: `${region}/${edge.edge}` })),
  );
  const included = seats.filter(({ bucket }) => bucket === "included");
  const names = included.map(({ name }) => name).sort();
  const expect = (claim: string, found: unknown, wanted: unknown) => {
    const [a, b] = [JSON.stringify(found), JSON.stringify(wanted)];
    return a === b ? [] : [`round ${round.number} (${round.phase}): ${claim}: ${a}, not ${b}`];
  };
  const wrong = [
    ...expect("an edge has one place", new Set(seats.map(({ name }) => name)).size, seats.length),
    ...expect(
      "a place without an end",
      seats.filter((seat) => seat.bucket === "training"),
      [],
    ),
  ];
  if (round.phase !== "promoted" && round.reason === "") wrong.push(`${round.number} says no why`);
  // A round that was given up counts nothing, and its edges' deltas have another bucket each.
  if (round.version === null) return [...wrong, ...expect("nothing is counted", names, [])];
  const version = lineage.find(({ version }) => version === round.version);
  if (version?.origin.kind !== "round") return [...wrong, `${round.version} has no origin`];
  const { origin } = version;
  // Acknowledged and kept, but not summed: the region's rule says why.
  const leftOut = round.regions.flatMap(({ region, partial }) =>
    (partial?.leftOut ?? []).map(({ edge }) => `${region}/${edge}`),
  );
  const summed = included.filter(({ name }) => !leftOut.includes(name));
  const weight = summed.reduce((sum, { examples }) => sum + examples, 0);
  const twins = lineage.filter(({ origin: other }) => {
    return other.kind === "round" && other.campaign === campaign && other.round === round.number;
  });
  return [
    ...wrong,
    ...expect("contributors", origin.contributors, summed.map(({ name }) => name).sort()),
    ...expect("told are those included", told, names),
    ...expect("the weight is their examples'", origin.weight, weight),
    ...expect("one version comes of it", twins.length, 1),
  ];
}
