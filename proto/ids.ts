// Branded identifiers, so that an edge's name is never taken for a region's.

declare const brand: unique symbol;
type Branded<T, B extends string> = T & { readonly [brand]: B };

export type EdgeId = Branded<string, "EdgeId">;
export type RegionId = Branded<string, "RegionId">;
export type ModelId = Branded<string, "ModelId">;
/** `<model>@<number>`, numbers from 1. */
export type VersionId = Branded<string, "VersionId">;
export type CampaignId = Branded<string, "CampaignId">;
/** Lower-case hex SHA-256. */
export type Sha256 = Branded<string, "Sha256">;

/** Names that go into NATS subjects, file names and URLs: 1 to 63 of a-z, 0-9 and inner hyphens. */
export const namePattern = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
/** Model names may also hold dots and underscores; subjects never carry them. */
export const modelPattern = /^[a-zA-Z0-9](?:[a-zA-Z0-9._-]{0,126}[a-zA-Z0-9])?$/;
export const sha256Pattern = /^[0-9a-f]{64}$/;

function checked<B extends string>(what: string, pattern: RegExp) {
  return (text: string): Branded<string, B> => {
    if (!pattern.test(text)) {
      throw new TypeError(`${what} ${JSON.stringify(text.slice(0, 80))} must match ${pattern}`);
    }
    return text as Branded<string, B>;
  };
}

export const edgeId = checked<"EdgeId">("edge name", namePattern);
export const regionId = checked<"RegionId">("region name", namePattern);
export const modelId = checked<"ModelId">("model name", modelPattern);
export const campaignId = checked<"CampaignId">("campaign", namePattern);
export const sha256 = checked<"Sha256">("SHA-256", sha256Pattern);

export function versionId(model: ModelId, number: number): VersionId {
  return `${model}@${number}` as VersionId;
}
