// Where one request goes: which endpoints may serve it, in which order, and which one is next after
// some have failed.
import { Fault } from "../proto/fault.ts";
import { type ResidencyRule, residencyRefusal } from "../runtime/policy/residency.ts";
import { costMs, type Directory, isDown, isHealthy, type KnownEndpoint } from "./directory.ts";

/** What of a request decides where it may go. */
export interface RequestNeeds {
  readonly model: string;
  readonly policy?: ResidencyRule | undefined;
  /** A conversation lives at the gateways; empty for none. */
  readonly sessionId?: string;
}

/** Endpoints of one region that a stream tries in a row before others go first. */
const REGION_TRIES_MAX = 2;

/**
 * Where to try a request, best first: the preferred edge, then healthy edges that have the model
 * from the soonest first token on, then gateways from near to far, then whatever is left. Edges
 * that the policy leaves out are never tried; gateways there come late, since they only relay.
 */
export function candidatesFor(directory: Directory, needs: RequestNeeds): KnownEndpoint[] {
  const { model, policy, sessionId = "" } = needs;
  const preferred = directory.preferred.get(model);
  const rank = (endpoint: KnownEndpoint): number => {
    if (isDown(endpoint)) return 5;
    if (!mayServe(endpoint, policy)) return 4;
    if (!isHealthy(endpoint)) return 3;
    if (endpoint.role === "gateway") return 2;
    if (!endpoint.models.includes(model)) return 3;
    return endpoint.key === preferred ? 0 : 1;
  };
  const ranked = [];
  for (const endpoint of directory.endpoints.values()) {
    const isGateway = endpoint.role === "gateway";
    if (!isGateway && (sessionId !== "" || !mayServe(endpoint, policy))) continue;
    const atMs = isGateway ? endpoint.rttMs : costMs(endpoint, model);
    ranked.push({ endpoint, rank: rank(endpoint), atMs });
  }
  ranked.sort(
    (a, b) =>
      a.rank - b.rank ||
      (a.atMs === b.atMs ? 0 : a.atMs - b.atMs) ||
      (a.endpoint.key < b.endpoint.key ? -1 : 1),
  );
  return ranked.map(({ endpoint }) => endpoint);
}

/**
 * The next to try. A region where several have just failed is likely lost as a whole: the others go
 * first then.
 */
export function nextOf(
  candidates: readonly KnownEndpoint[],
  excluded: ReadonlySet<string>,
): KnownEndpoint | undefined {
  const tries = new Map<string, number>();
  for (const { key, region } of candidates) {
    if (excluded.has(key)) tries.set(region, (tries.get(region) ?? 0) + 1);
  }
  const left = candidates.filter(({ key }) => !excluded.has(key));
  return left.find(({ region }) => (tries.get(region) ?? 0) < REGION_TRIES_MAX) ?? left[0];
}

/** Why no region known to this client may serve it at all, or null. */
export function policyFault({ endpoints }: Directory, { policy }: RequestNeeds): Fault | null {
  if (policy === undefined || endpoints.size === 0) return null;
  for (const endpoint of endpoints.values()) if (mayServe(endpoint, policy)) return null;
  const { regions, jurisdictions } = policy;
  const rule = regions.length > 0 ? "policy.regions" : "policy.jurisdictions";
  const wanted = (regions.length > 0 ? regions : jurisdictions).join(", ");
  return new Fault("failed-precondition", `${rule} = ${wanted}: no region known here is allowed.`, {
    param: rule,
  });
}

function mayServe({ region, jurisdictions }: KnownEndpoint, policy?: ResidencyRule): boolean {
  return residencyRefusal(policy, region, jurisdictions) === null;
}
