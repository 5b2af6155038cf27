// Where everything of a local mesh is: names, ports, folders, counted from one base port and one
// folder. Pure and deterministic, so that a second start finds what the first one left.
import { join } from "node:path";
import { namePattern } from "../../proto/ids.ts";
import {
  CENTRAL,
  type NatsServerPlan,
  type NatsSite,
  natsServerPlans,
  natsUrls,
} from "../nats/config.ts";
import type { Wiring } from "../nats/wiring.ts";
import { UsageError } from "./usage-error.ts";
import { type WanPlan, wanPlan, wanPortSpan } from "./wan-plan.ts";

export const REGIONS_MAX = 12;
export const EDGES_MAX = 20;
/** Ports that each site takes: central first, then the regions in order. */
const PORTS_PER_SITE = 50;
/** Within a site: the gateway (or coordinator), the pair of nats-servers, then the edges. */
const OFFSET = {
  http: 0,
  grpc: 1,
  coreClient: 2,
  coreGateway: 3,
  coreLeaf: 4,
  coreMonitor: 5,
  jetstreamClient: 6,
  jetstreamMonitor: 7,
  edges: 10,
} as const;
const PORT_MIN = 1024;
const PORT_MAX = 65_535;
const LOOPBACK = "127.0.0.1";

export interface MeshShape {
  readonly dir: string;
  readonly regions: readonly string[];
  /** Edges in each region. */
  readonly edges: number;
  readonly portBase: number;
  /** Where processes find each other, if not where they listen; for tests. */
  readonly via?: Wiring;
  /** Whether what leaves a site goes through an emulated wide-area network. */
  readonly wan?: boolean;
}

export interface RoleAddress {
  /** The address of its own that it listens on. */
  readonly listenHost: string;
  readonly httpPort: number;
  readonly grpcPort: number;
  readonly http: string;
  readonly grpc: string;
}

export interface EdgeLayout extends RoleAddress {
  readonly name: string;
  readonly region: string;
  readonly dir: string;
}

export interface RegionLayout extends RoleAddress {
  readonly name: string;
  readonly dir: string;
  readonly natsUrls: readonly string[];
  readonly edges: readonly EdgeLayout[];
}

export interface CoordinatorLayout extends RoleAddress {
  readonly dir: string;
  readonly natsUrls: readonly string[];
}

export interface MeshLayout {
  readonly shape: MeshShape;
  readonly coordinator: CoordinatorLayout;
  readonly regions: readonly RegionLayout[];
  readonly nats: readonly NatsServerPlan[];
  readonly wan?: WanPlan;
  /** Every port the mesh listens on, with what will hold it. */
  readonly ports: readonly { readonly port: number; readonly owner: string }[];
  readonly configDir: string;
  readonly logDir: string;
}

/** Lays out a mesh. Faults: UsageError, naming the option that is wrong. */
export function meshLayout(shape: MeshShape): MeshLayout {
  checkShape(shape);
  const plain = layoutOf(shape);
  if (shape.wan !== true) return plain;
  const { portBase, regions } = shape;
  const wan = wanPlan(plain, portBase + portSpan(regions.length));
  const layout = layoutOf({ ...shape, via: wan.via });
  return { ...layout, wan, ports: [...layout.ports, ...wan.ports] };
}

function layoutOf(shape: MeshShape): MeshLayout {
  const { dir, portBase } = shape;
  const sites = [CENTRAL, ...shape.regions].map((region, index) =>
    natsSite(region, portBase + index * PORTS_PER_SITE),
  );
  const [centralSite, ...regionSites] = sites;
  const coordinator = {
    ...address(portBase),
    dir: join(dir, "coordinator"),
    natsUrls: natsUrls(centralSite as NatsSite),
  };
  const regions = regionSites.map((site, index) => {
    const base = portBase + (index + 1) * PORTS_PER_SITE;
    return {
      ...address(base),
      name: site.region,
      dir: join(dir, "regions", site.region),
      natsUrls: natsUrls(site),
      edges: Array.from({ length: shape.edges }, (_, edge) => ({
        ...address(base + OFFSET.edges + 2 * edge),
        name: `${site.region}-${edge + 1}`,
        region: site.region,
        dir: join(dir, "edges", `${site.region}-${edge + 1}`),
      })),
    };
  });
  const nats = natsServerPlans(sites, join(dir, "nats"), shape.via);
  return {
    shape,
    coordinator,
    regions,
    nats,
    ports: ownedPorts(coordinator, regions, nats),
    configDir: join(dir, "config"),
    logDir: join(dir, "logs"),
  };
}

/** How many ports from the base a mesh of so many regions spans. */
export function portSpan(regions: number, wan = false): number {
  return PORTS_PER_SITE * (regions + 1) + (wan ? wanPortSpan(regions) : 0);
}

function checkShape({ regions, edges, portBase, via, wan = false }: MeshShape): void {
  if (wan && via !== undefined) throw new TypeError("the emulated network is a wiring of its own");
  const bad = regions.find((region) => !namePattern.test(region) || region.length > 40);
  if (bad !== undefined) {
    throw new UsageError(`--regions: "${bad}" is no region name (use a-z, 0-9, inner hyphens)`);
  }
  if (regions.length < 1 || regions.length > REGIONS_MAX) {
    throw new UsageError(`--regions: name 1 to ${REGIONS_MAX} regions, not ${regions.length}`);
  }
  if (regions.includes(CENTRAL)) {
    throw new UsageError(`--regions: "${CENTRAL}" is the coordinator's own place`);
  }
  if (wan && regions.includes("wan")) {
    throw new UsageError('--regions: "wan" is the emulated network\'s own name');
  }
  const twice = regions.find((region, index) => regions.indexOf(region) !== index);
  if (twice !== undefined) throw new UsageError(`--regions: "${twice}" is named twice`);
  if (!Number.isInteger(edges) || edges < 1 || edges > EDGES_MAX) {
    throw new UsageError(`--edges: must be a whole number from 1 to ${EDGES_MAX}, not ${edges}`);
  }
  const highest = PORT_MAX - portSpan(regions.length, wan);
  if (!Number.isInteger(portBase) || portBase < PORT_MIN || portBase > highest) {
    throw new UsageError(
      `--port-base: must be a whole number from ${PORT_MIN} to ${highest}, not ${portBase}`,
    );
  }
}

function natsSite(region: string, base: number): NatsSite {
  return {
    region,
    ports: {
      coreClient: base + OFFSET.coreClient,
      coreGateway: base + OFFSET.coreGateway,
      coreLeaf: base + OFFSET.coreLeaf,
      coreMonitor: base + OFFSET.coreMonitor,
      jetstreamClient: base + OFFSET.jetstreamClient,
      jetstreamMonitor: base + OFFSET.jetstreamMonitor,
    },
  };
}

function address(base: number): RoleAddress {
  const httpPort = base + OFFSET.http;
  const grpcPort = base + OFFSET.grpc;
  return {
    listenHost: LOOPBACK,
    httpPort,
    grpcPort,
    http: `http://${LOOPBACK}:${httpPort}`,
    grpc: `${LOOPBACK}:${grpcPort}`,
  };
}

function ownedPorts(
  coordinator: RoleAddress,
  regions: readonly RegionLayout[],
  nats: readonly NatsServerPlan[],
): { port: number; owner: string }[] {
  const both = (owner: string, { httpPort, grpcPort }: RoleAddress) => [
    { port: httpPort, owner: `${owner}, HTTP` },
    { port: grpcPort, owner: `${owner}, gRPC` },
  ];
  return [
    ...both("the coordinator", coordinator),
    ...regions.flatMap((region) => [
      ...both(`region ${region.name}`, region),
      ...region.edges.flatMap((edge) => both(`edge ${edge.name}`, edge)),
    ]),
    ...nats.flatMap(({ name, ports }) =>
      Object.entries(ports).map(([use, port]) => ({ port, owner: `${name}, ${use}` })),
    ),
  ];
}
