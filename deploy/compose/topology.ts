// What the compose file starts and where each part is found: sites, their networks, hosts, ports.
// Every configuration under deploy/compose/config and deploy/compose.yaml itself follow from here.
import type { MeshLayout, RegionLayout, RoleAddress } from "../local/layout.ts";
import type { RoleLayout } from "../local/role-config.ts";
import {
  CENTRAL,
  type NatsServerPlan,
  type NatsSite,
  natsServerPlans,
  natsUrls,
} from "../nats/config.ts";

export const REGIONS = ["us", "eu", "ap"] as const;
export const EDGES_PER_REGION = 3;
/** Of each region's coordinator; they share the host name and the volume. */
export const REGION_INSTANCES = ["a", "b"] as const;

/** Where every role keeps what it keeps. */
export const STATE_DIR = "/var/lib/isthmus";
export const CONFIG_DIR = "/etc/isthmus";
/** Of the emulated network's control API, inside its container. */
export const WAN_HTTP_PORT = 8080;

/** What each site's ports count from; a port stands for one target in all networks. */
const HTTP_BASE = 8000;
const GRPC_BASE = 9000;
const GATEWAY_BASE = 7200;
const PORTS_PER_SITE = 100;
/** Local to each site, so the same everywhere. */
const NATS_CLIENT_PORT = 4222;
const NATS_LEAF_PORT = 7422;
const NATS_MONITOR_PORT = 8222;
const EVERY_ADDRESS = "0.0.0.0";
const JETSTREAM_DIR = "/data";

/** A network of its own, joined to the others by the emulated WAN alone. */
export interface ComposeSite {
  readonly name: string;
  readonly subnet: string;
  readonly nats: readonly NatsServerPlan[];
}

export interface ComposeTopology extends RoleLayout {
  readonly sites: readonly ComposeSite[];
}

/** Something that other sites call: at the same name and port as at home. */
export interface RemoteTarget {
  readonly site: string;
  readonly host: string;
  readonly port: number;
}

export function composeTopology(): ComposeTopology {
  const natsSites = [CENTRAL, ...REGIONS].map(natsSite);
  const plans = natsServerPlans(natsSites, JETSTREAM_DIR);
  const [central, ...others] = natsSites as [NatsSite, ...NatsSite[]];
  const shape: MeshLayout["shape"] = {
    dir: STATE_DIR,
    regions: REGIONS,
    edges: EDGES_PER_REGION,
    portBase: HTTP_BASE,
  };
  const coordinator = {
    ...roleAddress("coordinator", 0, 0),
    dir: STATE_DIR,
    natsUrls: natsUrls(central),
  };
  const sites = natsSites.map(({ region: name }, index) => ({
    name,
    subnet: `10.77.${index}.0/24`,
    nats: plans.filter(({ region }) => region === name),
  }));
  const regions = others.map((site, index) => regionLayout(site, index + 1));
  return { shape, coordinator, regions, sites };
}

/** The host of an edge, by its name in the mesh. */
export function edgeHost(edge: string): string {
  return `edge-${edge}`;
}

/** The host of one of a region's instances; all of them together answer to `region-<name>`. */
export function instanceHost(region: string, instance: string): string {
  return `region-${region}-${instance}`;
}

/** Everything that is called from other sites, once for each port. */
export function remoteTargets({ coordinator, regions, sites }: ComposeTopology): RemoteTarget[] {
  const gateways = sites.flatMap(({ name: site, nats }) =>
    nats
      .filter(({ kind }) => kind === "g")
      .map(({ name: host, ports }) => ({ site, host, port: ports.gateway ?? 0 })),
  );
  const roles = [
    { site: CENTRAL, ...coordinator },
    ...regions.flatMap((region) => [
      { site: region.name, ...region },
      ...region.edges.map((edge) => ({ site: region.name, ...edge })),
    ]),
  ];
  const doors = roles.flatMap(({ site, http, httpPort, grpcPort }) => {
    const host = new URL(http).hostname;
    return [
      { site, host, port: httpPort },
      { site, host, port: grpcPort },
    ];
  });
  return [...gateways, ...doors];
}

/** The name under which only the WAN, which is in every network, finds a host of that site. */
export function homeName(host: string, site: string): string {
  return `${host}.${site}`;
}

function natsSite(region: string, index: number): NatsSite {
  return {
    region,
    ports: {
      coreClient: NATS_CLIENT_PORT,
      coreGateway: GATEWAY_BASE + index,
      coreLeaf: NATS_LEAF_PORT,
      coreMonitor: NATS_MONITOR_PORT,
      jetstreamClient: NATS_CLIENT_PORT,
      jetstreamMonitor: NATS_MONITOR_PORT,
    },
    hosts: { core: `nats-${region}-g`, jetstream: `nats-${region}-j` },
  };
}

function regionLayout(site: NatsSite, index: number): RegionLayout {
  const { region: name } = site;
  const edges = Array.from({ length: EDGES_PER_REGION }, (_, at) => {
    const edge = `${name}-${at + 1}`;
    const address = roleAddress(edgeHost(edge), index, at + 1);
    return { ...address, name: edge, region: name, dir: STATE_DIR };
  });
  const address = roleAddress(`region-${name}`, index, 0);
  return { ...address, name, dir: STATE_DIR, natsUrls: natsUrls(site), edges };
}

function roleAddress(host: string, site: number, offset: number): RoleAddress {
  const httpPort = HTTP_BASE + PORTS_PER_SITE * site + offset;
  const grpcPort = GRPC_BASE + PORTS_PER_SITE * site + offset;
  return {
    listenHost: EVERY_ADDRESS,
    httpPort,
    grpcPort,
    http: `http://${host}:${httpPort}`,
    grpc: `${host}:${grpcPort}`,
  };
}
