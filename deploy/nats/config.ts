// Writes the nats-server configurations of a mesh: for each region, and for the central pair, a
// core server `g`, joined to the other regions' by gateways, and a JetStream server `j`, whose
// domain is the region and which is a leaf of its g. Pure: a topology in, texts out.
import { join } from "node:path";
import { ANYBODY, type Wiring, wired } from "./wiring.ts";

/** The place of the coordinator's pair, beside the regions. */
export const CENTRAL = "central";

export type NatsServerKind = "g" | "j";

/** The ports of one site's pair. */
export interface NatsSitePorts {
  readonly coreClient: number;
  readonly coreGateway: number;
  readonly coreLeaf: number;
  readonly coreMonitor: number;
  readonly jetstreamClient: number;
  readonly jetstreamMonitor: number;
}

/** Where a site's pair runs when each server has a host of its own. */
export interface NatsSiteHosts {
  readonly core: string;
  readonly jetstream: string;
}

/** A region, or central, with the ports of its pair. */
export interface NatsSite {
  readonly region: string;
  readonly ports: NatsSitePorts;
  /** Left out, both are on this machine, and nothing beyond it reaches them. */
  readonly hosts?: NatsSiteHosts;
}

/** One server to run: its text of configuration and where it will answer. */
export interface NatsServerPlan {
  /** `nats-<region>-g` or `nats-<region>-j`. */
  readonly name: string;
  readonly region: string;
  readonly kind: NatsServerKind;
  /** For clients. */
  readonly url: string;
  /** Base of the server's monitoring HTTP. */
  readonly monitorUrl: string;
  /** Every port it listens on, named. */
  readonly ports: Readonly<Record<string, number>>;
  readonly config: string;
}

/** Where nothing but this machine reaches. */
const LOOPBACK = "127.0.0.1";
const EVERY_ADDRESS = "0.0.0.0";
/** Enough for records and logs of rounds; models and deltas never go through JetStream. */
const JETSTREAM_STORE_MAX = "1GB";
const JETSTREAM_MEMORY_MAX = "64MB";

/** Liveness as measured in the design note: a dead peer is dropped within 3 s. */
const COMMON = `ping_interval: "1s"
ping_max: 2
write_deadline: "2s"
max_payload: 1MB
no_auth_user: app
system_account: SYS
`;

/** The servers of all sites; `storeDir` holds a folder for each JetStream server's data. */
export function natsServerPlans(
  sites: readonly NatsSite[],
  storeDir: string,
  via?: Wiring,
): NatsServerPlan[] {
  return sites.flatMap((site) => [corePlan(site, sites, via), jetstreamPlan(site, storeDir, via)]);
}

/** The servers a role of that site connects to, the nearest to JetStream first. */
export function natsUrls({ ports, hosts }: NatsSite): string[] {
  return [
    clientUrl(hosts?.jetstream, ports.jetstreamClient),
    clientUrl(hosts?.core, ports.coreClient),
  ];
}

function corePlan(
  site: NatsSite,
  sites: readonly NatsSite[],
  via: Wiring | undefined,
): NatsServerPlan {
  const { region, ports, hosts } = site;
  const at = listenAddress(site);
  const name = serverName(region, "g");
  const peers = sites
    .filter((other) => other.region !== region)
    .map((other) => ({ peer: other.region, url: wired(via, name, gatewayUrl(other)) }))
    .map(({ peer, url }) => `    { name: ${quoted(peer)}, url: "${url}" }\n`);
  const config = `server_name: ${quoted(`${region}-g`)}
listen: "${at}:${ports.coreClient}"
http: "${at}:${ports.coreMonitor}"
leafnodes { listen: "${at}:${ports.coreLeaf}"${advertise(via, hosts?.core, ports.coreLeaf)} }
gateway {
  name: ${quoted(region)}
  listen: "${at}:${ports.coreGateway}"${advertise(via, hosts?.core, ports.coreGateway)}
  gateways: [
${peers.join("")}  ]
}
${COMMON}${accounts("")}`;
  return {
    name,
    region,
    kind: "g",
    url: clientUrl(hosts?.core, ports.coreClient),
    monitorUrl: `http://${hosts?.core ?? LOOPBACK}:${ports.coreMonitor}`,
    ports: {
      client: ports.coreClient,
      gateway: ports.coreGateway,
      leaf: ports.coreLeaf,
      monitor: ports.coreMonitor,
    },
    config,
  };
}

function jetstreamPlan(site: NatsSite, storeDir: string, via: Wiring | undefined): NatsServerPlan {
  const { region, ports, hosts } = site;
  const at = listenAddress(site);
  const name = serverName(region, "j");
  const core = `${hosts?.core ?? LOOPBACK}:${ports.coreLeaf}`;
  const remote = `nats-leaf://app:app@${wired(via, name, core)}`;
  const config = `server_name: ${quoted(`${region}-j`)}
listen: "${at}:${ports.jetstreamClient}"
http: "${at}:${ports.jetstreamMonitor}"
jetstream {
  store_dir: ${quoted(join(storeDir, region))}
  domain: ${quoted(region)}
  max_mem: ${JETSTREAM_MEMORY_MAX}
  max_file: ${JETSTREAM_STORE_MAX}
}
leafnodes {
  reconnect: 1
  remotes: [ { url: "${remote}", account: APP } ]
}
${COMMON}${accounts("jetstream: enabled, ")}`;
  return {
    name,
    region,
    kind: "j",
    url: clientUrl(hosts?.jetstream, ports.jetstreamClient),
    monitorUrl: `http://${hosts?.jetstream ?? LOOPBACK}:${ports.jetstreamMonitor}`,
    ports: { client: ports.jetstreamClient, monitor: ports.jetstreamMonitor },
    config,
  };
}

/** One account for the mesh, one for the servers' own events. */
function accounts(jetstream: string): string {
  return `accounts {
  SYS { users: [ { user: sys, password: sys } ] }
  APP { ${jetstream}users: [ { user: app, password: app } ] }
}
`;
}

function serverName(region: string, kind: NatsServerKind): string {
  return `nats-${region}-${kind}`;
}

function listenAddress({ hosts }: NatsSite): string {
  return hosts === undefined ? LOOPBACK : EVERY_ADDRESS;
}

/**
 * Servers tell each other their addresses: what they tell must not lead past the wiring, and not
 * to an address of the host that others don't reach.
 */
function advertise(via: Wiring | undefined, host: string | undefined, port: number): string {
  if (via === undefined && host === undefined) return "";
  return `\n  advertise: "${wired(via, ANYBODY, `${host ?? LOOPBACK}:${port}`)}"`;
}

function clientUrl(host: string | undefined, port: number): string {
  return `nats://${host ?? LOOPBACK}:${port}`;
}

function gatewayUrl({ ports, hosts }: NatsSite): string {
  return `nats://${hosts?.core ?? LOOPBACK}:${ports.coreGateway}`;
}

/** A string in nats-server's configuration language. */
function quoted(text: string): string {
  return JSON.stringify(text);
}
