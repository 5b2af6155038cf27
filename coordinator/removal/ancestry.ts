// Whose deltas are in a version: the rounds that led to it, oldest first, through versions that
// were rebuilt or merged on the way. Pure but for reading the catalogue.
import type { Catalogue } from "../catalogue/catalogue.ts";
import type { Origin, VersionRecord } from "../catalogue/model-record.ts";

export type RoundOrigin = Origin & { readonly kind: "round" };

/** A version that a round made. */
export interface RoundStep {
  readonly record: VersionRecord;
  readonly origin: RoundOrigin;
}

export interface Ancestry {
  readonly rounds: readonly RoundStep[];
  /** `<region>/<edge>` whose deltas were taken out of all these rounds, sorted. */
  readonly without: readonly string[];
}

/** Faults: `not-found`. */
export function ancestryOf(catalogue: Pick<Catalogue, "version">, version: string): Ancestry {
  const rounds: RoundStep[] = [];
  const without = new Set<string>();
  let next: string | null = version;
  while (next !== null) {
    const record: VersionRecord = catalogue.version(next);
    const { origin } = record;
    switch (origin.kind) {
      case "round":
        rounds.unshift({ record, origin });
        next = record.parent;
        break;
      case "rebuilt":
        for (const edge of origin.without) without.add(edge);
        next = origin.from;
        break;
      case "merged":
        next = origin.from;
        break;
      case "published":
        next = null;
    }
  }
  return { rounds, without: [...without].sort() };
}

/** `<region>/<edge>` of everyone whose delta is in it, each with its rounds: `campaign/round`. */
export function contributorsOf({ rounds, without }: Ancestry): ReadonlyMap<string, string[]> {
  const contributors = new Map<string, string[]>();
  for (const { origin } of rounds) {
    for (const edge of origin.contributors) {
      if (without.includes(edge)) continue;
      const list = contributors.get(edge) ?? [];
      list.push(`${origin.campaign}/${origin.round}`);
      contributors.set(edge, list);
    }
  }
  return new Map([...contributors].sort(([a], [b]) => (a < b ? -1 : 1)));
}
