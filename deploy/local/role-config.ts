// The configuration files that the launcher writes for the roles of a local mesh.
import { availableParallelism } from "node:os";
import { CENTRAL } from "../nats/config.ts";
import type { PrivateData } from "./examples.ts";
import type { CoordinatorLayout, EdgeLayout, MeshLayout, RegionLayout } from "./layout.ts";

type JsonObject = Readonly<Record<string, unknown>>;

/** Keys laid over what the launcher writes, for tests and benches. */
export interface RoleOverrides {
  readonly coordinator?: JsonObject;
  readonly region?: JsonObject;
  readonly edge?: JsonObject;
}

const LOOPBACK = "127.0.0.1";
/** More threads than this gain an edge of the demo model nothing. */
const ENGINE_THREADS_MAX = 4;

export function coordinatorConfig(layout: MeshLayout, overrides: RoleOverrides): JsonObject {
  const { coordinator } = layout;
  return {
    dir: coordinator.dir,
    ...listeners(coordinator),
    nats: coordinator.natsUrls,
    natsDomain: CENTRAL,
    regions: layout.regions.map(({ name }) => name),
    ...overrides.coordinator,
  };
}

export function regionConfig(
  layout: MeshLayout,
  region: RegionLayout,
  overrides: RoleOverrides,
): JsonObject {
  return {
    name: region.name,
    dir: region.dir,
    ...listeners(region),
    nats: region.natsUrls,
    natsDomain: region.name,
    coordinator: { http: layout.coordinator.http },
    peers: layout.regions
      .filter(({ name }) => name !== region.name)
      .map(({ name, http, grpc }) => ({ region: name, http, grpc })),
    ...overrides.region,
  };
}

export function edgeConfig(
  layout: MeshLayout,
  region: RegionLayout,
  edge: EdgeLayout,
  privateData: Readonly<Record<string, PrivateData>>,
  overrides: RoleOverrides,
): JsonObject {
  const edgeCount = layout.regions.length * layout.shape.edges;
  const share = Math.floor(availableParallelism() / edgeCount);
  return {
    name: edge.name,
    region: region.name,
    dir: edge.dir,
    ...listeners(edge),
    nats: region.natsUrls,
    gateway: { http: region.http, grpc: region.grpc },
    engine: { threads: Math.min(Math.max(share, 1), ENGINE_THREADS_MAX) },
    privateData,
    ...overrides.edge,
  };
}

function listeners({ httpPort, grpcPort }: CoordinatorLayout | RegionLayout | EdgeLayout) {
  return {
    http: { host: LOOPBACK, port: httpPort },
    grpc: { host: LOOPBACK, port: grpcPort },
  };
}
