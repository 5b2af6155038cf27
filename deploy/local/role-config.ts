// The configuration files that the launcher writes for the roles of a local mesh.
import { availableParallelism } from "node:os";
import { CENTRAL } from "../nats/config.ts";
import { ANYBODY, wired } from "../nats/wiring.ts";
import type { PrivateData } from "./examples.ts";
import type { EdgeLayout, MeshLayout, RegionLayout, RoleAddress } from "./layout.ts";

/** What of a mesh its roles' configurations depend on, wherever it runs. */
export type RoleLayout = Pick<MeshLayout, "shape" | "coordinator" | "regions">;

type JsonObject = Readonly<Record<string, unknown>>;

/** Keys laid over what the launcher writes, for tests and benches. */
export interface RoleOverrides {
  readonly coordinator?: JsonObject;
  readonly region?: JsonObject;
  readonly edge?: JsonObject;
}

/** Of the regions that `npm start` makes by default; another stands for its own name alone. */
const jurisdictions: Readonly<Record<string, readonly string[]>> = {
  us: ["us"],
  eu: ["gdpr", "eu"],
  ap: ["ap"],
};
/** More threads than this gain an edge of the demo model nothing. */
const ENGINE_THREADS_MAX = 4;

export function coordinatorConfig(layout: RoleLayout, overrides: RoleOverrides): JsonObject {
  const { coordinator } = layout;
  return {
    dir: coordinator.dir,
    ...listeners(coordinator),
    nats: natsOf(layout, "coordinator", coordinator),
    natsDomain: CENTRAL,
    regions: layout.regions.map(({ name }) => name),
    ...overrides.coordinator,
  };
}

export function regionConfig(
  layout: RoleLayout,
  region: RegionLayout,
  overrides: RoleOverrides,
): JsonObject {
  const { via } = layout.shape;
  const { name, dir } = region;
  const peer = (other: RegionLayout) => ({
    region: other.name,
    http: wired(via, name, other.http),
    grpc: wired(via, name, other.grpc),
    ...(via === undefined ? {} : { fixed: true }),
  });
  return {
    name,
    dir,
    ...listeners(region),
    ...advertised(layout, ANYBODY, region),
    nats: natsOf(layout, name, region),
    natsDomain: name,
    coordinator: { http: wired(via, name, layout.coordinator.http) },
    peers: layout.regions.filter((other) => other.name !== name).map(peer),
    labels: { jurisdictions: jurisdictions[name] ?? [name] },
    ...overrides.region,
  };
}

export function edgeConfig(
  layout: RoleLayout,
  region: RegionLayout,
  edge: EdgeLayout,
  privateData: Readonly<Record<string, PrivateData>>,
  overrides: RoleOverrides,
): JsonObject {
  const { via } = layout.shape;
  const edgeCount = layout.regions.length * layout.shape.edges;
  const share = Math.floor(availableParallelism() / edgeCount);
  return {
    name: edge.name,
    region: region.name,
    dir: edge.dir,
    ...listeners(edge),
    ...advertised(layout, region.name, edge),
    nats: natsOf(layout, edge.name, region),
    gateway: { http: wired(via, edge.name, region.http), grpc: wired(via, edge.name, region.grpc) },
    jurisdictions: jurisdictions[region.name] ?? [region.name],
    engine: { threads: Math.min(Math.max(share, 1), ENGINE_THREADS_MAX) },
    privateData,
    ...overrides.edge,
  };
}

/** What a role says of its addresses: where `from` finds it, if that isn't where it listens. */
function advertised({ shape: { via } }: RoleLayout, from: string, place: RoleAddress) {
  const { listenHost, http, grpc } = place;
  if (via === undefined && new URL(http).hostname === listenHost) return {};
  return { advertise: { http: wired(via, from, http), grpc: wired(via, from, grpc) } };
}

function natsOf(
  { shape: { via } }: RoleLayout,
  from: string,
  { natsUrls }: { readonly natsUrls: readonly string[] },
): string[] {
  return natsUrls.map((url) => wired(via, from, url));
}

function listeners({ listenHost, httpPort, grpcPort }: RoleAddress) {
  return {
    http: { host: listenHost, port: httpPort },
    grpc: { host: listenHost, port: grpcPort },
  };
}
