// Which edges and gateways there are, how far away each is, and in which order to try them. State
// and decisions only: whoever probes tells it what was measured.
import type { GetTopologyResponse } from "../proto/gen/isthmus/v1/discovery_pb.ts";

/** Endpoints remembered at most; beyond, the farthest are forgotten. */
export const ENDPOINTS_MAX = 512;
/** Probes that fail in a row before an endpoint counts as down. */
const FAILURES_MAX = 2;
/** Weight of the newest round trip in the average. */
const RTT_WEIGHT = 0.25;
/** A nearer endpoint replaces the present one only if it is nearer by this much. */
const SWITCH_FACTOR = 0.8;
const SWITCH_MS = 2;

export type EndpointRole = "edge" | "gateway";

export interface KnownEndpoint {
  /** `us/us-1` for an edge, `us` for a gateway. */
  readonly key: string;
  readonly role: EndpointRole;
  readonly region: string;
  /** Empty for a gateway. */
  readonly edge: string;
  /** host:port */
  readonly address: string;
  /** Says of itself that it takes requests. */
  readonly ready: boolean;
  /** Models it serves; empty for a gateway, which reaches all. */
  readonly models: readonly string[];
  /** Smoothed round trip in milliseconds; Infinity until measured. */
  readonly rttMs: number;
  readonly failures: number;
}

export interface Directory {
  readonly endpoints: ReadonlyMap<string, KnownEndpoint>;
  /** The edge that streams go to until another is clearly nearer. */
  readonly preferred: string;
}

export const emptyDirectory: Directory = { endpoints: new Map(), preferred: "" };

/** Takes in what an endpoint said of the mesh. Measurements of endpoints still there are kept. */
export function learn(directory: Directory, topology: GetTopologyResponse): Directory {
  const endpoints = new Map<string, KnownEndpoint>();
  const add = (found: Omit<KnownEndpoint, "rttMs" | "failures">) => {
    const known = directory.endpoints.get(found.key);
    const same = known?.address === found.address;
    const measured = same
      ? { rttMs: known.rttMs, failures: known.failures }
      : { rttMs: Number.POSITIVE_INFINITY, failures: 0 };
    endpoints.set(found.key, { ...found, ...measured });
  };
  for (const { region, grpc, reachable, edges } of topology.regions) {
    if (grpc !== "") {
      const gateway = { role: "gateway", edge: "", models: [] } as const;
      add({ ...gateway, key: region, region, address: grpc, ready: reachable });
    }
    for (const { edge, grpc: address, ready, models } of edges) {
      if (address === "") continue;
      add({ key: `${region}/${edge}`, role: "edge", region, edge, address, ready, models });
    }
    // A region that was lost from sight says nothing of its edges: keep what is known of them.
    if (reachable) continue;
    for (const known of directory.endpoints.values()) {
      if (known.region === region && !endpoints.has(known.key)) endpoints.set(known.key, known);
    }
  }
  return prefer({ endpoints: bounded(endpoints), preferred: directory.preferred });
}

/** A probe came back after `rttMs`. */
export function measured(directory: Directory, key: string, rttMs: number): Directory {
  return amend(directory, key, (known) => ({
    ...known,
    failures: 0,
    rttMs:
      known.rttMs === Number.POSITIVE_INFINITY
        ? rttMs
        : known.rttMs + RTT_WEIGHT * (rttMs - known.rttMs),
  }));
}

/** A probe or a stream failed on this endpoint. */
export function failed(directory: Directory, key: string): Directory {
  return amend(directory, key, (known) => ({ ...known, failures: known.failures + 1 }));
}

export function isHealthy(endpoint: KnownEndpoint): boolean {
  return endpoint.ready && endpoint.failures < FAILURES_MAX;
}

/**
 * Where to try a request for `model`, best first: the preferred edge, then healthy edges that have
 * it from near to far, then gateways from near to far, then whatever is left.
 */
export function candidatesFor(directory: Directory, model: string): KnownEndpoint[] {
  const rank = (endpoint: KnownEndpoint): number => {
    if (endpoint.failures >= FAILURES_MAX) return 4;
    if (endpoint.role === "gateway") return endpoint.ready ? 2 : 3;
    if (!endpoint.ready || !endpoint.models.includes(model)) return 3;
    return endpoint.key === directory.preferred ? 0 : 1;
  };
  return [...directory.endpoints.values()].sort(
    (a, b) => rank(a) - rank(b) || distance(a, b) || (a.key < b.key ? -1 : 1),
  );
}

function distance(a: KnownEndpoint, b: KnownEndpoint): number {
  // Infinity - Infinity is NaN, which would break the sort.
  return a.rttMs === b.rttMs ? 0 : a.rttMs - b.rttMs;
}

function amend(
  directory: Directory,
  key: string,
  change: (known: KnownEndpoint) => KnownEndpoint,
): Directory {
  const known = directory.endpoints.get(key);
  if (known === undefined) return directory;
  const endpoints = new Map(directory.endpoints).set(key, change(known));
  return prefer({ endpoints, preferred: directory.preferred });
}

/** Keeps the preferred edge while it is healthy and no other is clearly nearer. */
function prefer(directory: Directory): Directory {
  const edges = [...directory.endpoints.values()].filter(
    (endpoint) => endpoint.role === "edge" && isHealthy(endpoint),
  );
  const nearest = edges.sort(distance)[0];
  if (nearest === undefined) return { ...directory, preferred: "" };
  const present = edges.find((endpoint) => endpoint.key === directory.preferred);
  const isClearlyNearer =
    present === undefined ||
    nearest.rttMs < Math.min(present.rttMs * SWITCH_FACTOR, present.rttMs - SWITCH_MS);
  return { ...directory, preferred: isClearlyNearer ? nearest.key : directory.preferred };
}

function bounded(endpoints: Map<string, KnownEndpoint>): Map<string, KnownEndpoint> {
  if (endpoints.size <= ENDPOINTS_MAX) return endpoints;
  const nearest = [...endpoints.values()].sort(distance).slice(0, ENDPOINTS_MAX);
  return new Map(nearest.map((endpoint) => [endpoint.key, endpoint]));
}
