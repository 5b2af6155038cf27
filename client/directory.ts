// Which edges and gateways there are, how far away each is, and which edge streams go to. State and
// decisions only: whoever probes tells it what was measured.
import type { GetTopologyResponse } from "../proto/gen/isthmus/v1/discovery_pb.ts";

/** Endpoints remembered at most; beyond, the farthest are forgotten. */
export const ENDPOINTS_MAX = 512;
/** Probes that fail in a row before an endpoint counts as down. */
const FAILURES_MAX = 2;
/** Weight of the newest round trip in the average. */
const RTT_WEIGHT = 0.25;
/** Processes of one region that are remembered as gateways of their own. */
const GATEWAYS_MAX = 4;
/** Models for which an edge is remembered as preferred. */
const MODELS_MAX = 256;
/** A better edge replaces the preferred one only if it is better by this much. */
const SWITCH_FACTOR = 0.8;
const SWITCH_MS = 2;
/** Edges within this of the best are as good; each client prefers one of them by its salt. */
const EQUAL_FACTOR = 1.1;

export type EndpointRole = "edge" | "gateway";

export interface KnownEndpoint {
  /** `us/us-1` for an edge, `us` for a gateway, `us@host:port` for one of several behind it. */
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
  /** By model: the time to first token that its region predicts for a short prompt there. */
  readonly predictedTtftMs: Readonly<Record<string, number>>;
  /** Legal regimes that hold in its region. */
  readonly jurisdictions: readonly string[];
  /** Smoothed round trip in milliseconds; Infinity until measured. */
  readonly rttMs: number;
  readonly failures: number;
}

export interface Directory {
  readonly endpoints: ReadonlyMap<string, KnownEndpoint>;
  /** By model: the edge that streams go to until another is clearly better. */
  readonly preferred: ReadonlyMap<string, string>;
  /** 0 to 1; of several edges that are as good, clients with other salts prefer others. */
  readonly salt: number;
}

export function emptyDirectory(salt = 0): Directory {
  return { endpoints: new Map(), preferred: new Map(), salt };
}

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
  for (const { region, grpc, reachable, edges, jurisdictions, gateways } of topology.regions) {
    const there = { region, jurisdictions };
    if (grpc !== "") {
      const gateway = { role: "gateway", edge: "", models: [], predictedTtftMs: {} } as const;
      add({ ...gateway, ...there, key: region, address: grpc, ready: reachable });
      // The processes behind the common address, where each can be reached by itself.
      for (const address of gateways.slice(0, GATEWAYS_MAX)) {
        if (address === grpc) continue;
        add({ ...gateway, ...there, key: `${region}@${address}`, address, ready: reachable });
      }
    }
    for (const { edge, grpc: address, ready, models, predictedTtftMs } of edges) {
      if (address === "") continue;
      const key = `${region}/${edge}`;
      add({ ...there, key, role: "edge", edge, address, ready, models, predictedTtftMs });
    }
    // A region that was lost from sight says nothing of its edges: keep what is known of them.
    if (reachable) continue;
    for (const known of directory.endpoints.values()) {
      if (known.region === region && !endpoints.has(known.key)) endpoints.set(known.key, known);
    }
  }
  return prefer(directory, bounded(endpoints));
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

export function isDown({ failures }: KnownEndpoint): boolean {
  return failures >= FAILURES_MAX;
}

/** A gateway that answers us is healthy, whatever those say who can't see it. */
export function isHealthy(endpoint: KnownEndpoint): boolean {
  const { ready, role, rttMs } = endpoint;
  return !isDown(endpoint) && (ready || (role === "gateway" && Number.isFinite(rttMs)));
}

/** Milliseconds to a first token from here: the way there and what its region predicts. */
export function costMs({ rttMs, predictedTtftMs }: KnownEndpoint, model: string): number {
  return rttMs + (predictedTtftMs[model] ?? 0);
}

function amend(
  directory: Directory,
  key: string,
  change: (known: KnownEndpoint) => KnownEndpoint,
): Directory {
  const known = directory.endpoints.get(key);
  if (known === undefined) return directory;
  return prefer(directory, new Map(directory.endpoints).set(key, change(known)));
}

/** Keeps each preferred edge while it is healthy and no other is clearly better. */
function prefer(directory: Directory, endpoints: ReadonlyMap<string, KnownEndpoint>): Directory {
  const edgesOf = new Map<string, KnownEndpoint[]>();
  for (const endpoint of endpoints.values()) {
    if (endpoint.role !== "edge" || !isHealthy(endpoint)) continue;
    for (const model of endpoint.models) {
      const edges = edgesOf.get(model);
      if (edges !== undefined) edges.push(endpoint);
      else if (edgesOf.size < MODELS_MAX) edgesOf.set(model, [endpoint]);
    }
  }
  const preferred = new Map<string, string>();
  for (const [model, edges] of edgesOf) {
    const present = directory.preferred.get(model) ?? "";
    preferred.set(model, preferredOf(edges, model, present, directory.salt));
  }
  return { ...directory, endpoints, preferred };
}

function preferredOf(
  edges: readonly KnownEndpoint[],
  model: string,
  presentKey: string,
  salt: number,
): string {
  const leastMs = Math.min(...edges.map((edge) => costMs(edge, model)));
  const present = edges.find(({ key }) => key === presentKey);
  if (present !== undefined) {
    const presentMs = costMs(present, model);
    if (leastMs >= Math.min(presentMs * SWITCH_FACTOR, presentMs - SWITCH_MS)) return presentKey;
  }
  const equals = edges
    .filter((edge) => costMs(edge, model) <= leastMs * EQUAL_FACTOR)
    .map(({ key }) => key)
    .sort();
  return equals[Math.min(Math.floor(salt * equals.length), equals.length - 1)]!;
}

function bounded(endpoints: Map<string, KnownEndpoint>): Map<string, KnownEndpoint> {
  if (endpoints.size <= ENDPOINTS_MAX) return endpoints;
  const nearest = [...endpoints.values()].sort(byDistance).slice(0, ENDPOINTS_MAX);
  return new Map(nearest.map((endpoint) => [endpoint.key, endpoint]));
}

function byDistance(a: KnownEndpoint, b: KnownEndpoint): number {
  // Infinity - Infinity is NaN, which would break the sort.
  return a.rttMs === b.rttMs ? 0 : a.rttMs - b.rttMs;
}
