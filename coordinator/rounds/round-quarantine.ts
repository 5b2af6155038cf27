// The deltas that were kept out of a round, gathered from the regions, where they lie.
import { z } from "zod";
import { asFault } from "../../proto/fault.ts";
import type { Fleet } from "../rollout/fleet.ts";

const REQUEST_TIMEOUT_MS = 5_000;

const deltaSchema = z.object({
  edge: z.string(),
  reason: z.string(),
  detail: z.string(),
  /** Whether the bytes lie in the region still. */
  kept: z.boolean(),
  sha256: z.string(),
  bytes: z.number(),
  codec: z.string(),
  examples: z.number(),
  norm: z.number(),
});
const listSchema = z.object({ deltas: z.array(deltaSchema).max(100_000) });

export interface RoundQuarantine {
  /** By region, then by edge. */
  readonly deltas: readonly (z.infer<typeof deltaSchema> & { readonly region: string })[];
  /** Regions that could not be asked, each with the reason: their deltas are missing above. */
  readonly silent: readonly { readonly region: string; readonly reason: string }[];
}

/** Asks every region of a round. */
export async function gatherQuarantine(
  { campaign, round }: { readonly campaign: string; readonly round: number },
  regions: readonly string[],
  fleet: Pick<Fleet, "regions">,
): Promise<RoundQuarantine> {
  const path = `/v1/rounds/${encodeURIComponent(campaign)}/${round}/quarantine`;
  const answers = await Promise.all(
    [...regions].sort().map(async (region) => {
      try {
        return { region, deltas: await askRegion(region, path, fleet) };
      } catch (thrown) {
        return { region, deltas: [], reason: asFault(thrown, "unavailable").message };
      }
    }),
  );
  return {
    deltas: answers.flatMap(({ region, deltas }) => deltas.map((delta) => ({ region, ...delta }))),
    silent: answers.flatMap(({ region, reason }) => (reason ? [{ region, reason }] : [])),
  };
}

async function askRegion(region: string, path: string, fleet: Pick<Fleet, "regions">) {
  const known = fleet.regions().find(({ summary }) => summary.region === region);
  if (!known || known.summary.http === "") throw new Error("its address isn't known");
  const signal = AbortSignal.timeout(REQUEST_TIMEOUT_MS);
  const response = await fetch(new URL(path, known.summary.http), { signal });
  // It never had the round, or has pruned it: nothing of it lies there.
  if (response.status === 404) return [];
  if (!response.ok) throw new Error(`it answered ${response.status}`);
  return listSchema.parse(await response.json()).deltas;
}
