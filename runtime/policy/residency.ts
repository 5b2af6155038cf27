// Where a request may be served and its session be kept: the one rule that every try, hedge, spill
// and resume of it asks.

/** The residency part of a Policy, as it travels inside the request. */
export interface ResidencyRule {
  /** Only these regions; empty for any. */
  readonly regions: readonly string[];
  /** Only regions that carry one of these labels; empty for any. */
  readonly jurisdictions: readonly string[];
}

/** Why a region must not serve it, or null when it may. */
export function residencyRefusal(
  rule: ResidencyRule | undefined,
  region: string,
  jurisdictions: readonly string[],
): string | null {
  if (rule === undefined) return null;
  if (rule.regions.length > 0 && !rule.regions.includes(region)) {
    return `policy.regions = ${rule.regions.join(", ")} leaves out ${region}`;
  }
  if (rule.jurisdictions.length === 0) return null;
  if (rule.jurisdictions.some((label) => jurisdictions.includes(label))) return null;
  const carried = jurisdictions.length === 0 ? "none" : jurisdictions.join(", ");
  const wanted = rule.jurisdictions.join(", ");
  return `policy.jurisdictions = ${wanted}, and ${region} carries ${carried}`;
}
