// The configuration of each container, by file name: nats-server's texts, and the roles' JSON.
import { coordinatorConfig, edgeConfig, regionConfig } from "../local/role-config.ts";
import {
  type ComposeTopology,
  composeTopology,
  homeName,
  remoteTargets,
  WAN_HTTP_PORT,
} from "./topology.ts";

/** Milliseconds there and back between the sites; the coordinator stands near us. */
const ROUND_TRIPS = [
  ["us", "eu", 80],
  ["eu", "ap", 160],
  ["us", "ap", 140],
  ["central", "us", 2],
  ["central", "eu", 80],
  ["central", "ap", 140],
] as const;
/** Nine edges share a machine: one thread each keeps them from spinning for each other's cores. */
const ENGINE = { threads: 1 };
/** A trainer and its edge together stay within the container's memory. */
const TRAINING = { memoryMiBMax: 640 };
const LOAD = { sdkCallers: 3, httpCallers: 1, pauseMs: 300 };

export function configFiles(topology: ComposeTopology = composeTopology()): Map<string, string> {
  const files = new Map<string, string>();
  const put = (name: string, config: object) =>
    files.set(`${name}.json`, `${JSON.stringify(config, null, 2)}\n`);
  for (const { nats } of topology.sites) {
    for (const { name, config } of nats) files.set(`${name}.conf`, config);
  }
  put("coordinator", coordinatorConfig(topology, {}));
  put("wan", wanConfig(topology));
  for (const region of topology.regions) {
    put(`region-${region.name}`, regionConfig(topology, region, {}));
    put(`load-${region.name}`, loadConfig(region));
    for (const edge of region.edges) {
      const overrides = { edge: { engine: ENGINE, training: TRAINING } };
      put(`edge-${edge.name}`, edgeConfig(topology, region, edge, {}, overrides));
    }
  }
  return files;
}

function wanConfig(topology: ComposeTopology) {
  const routes = remoteTargets(topology).map(({ site, host, port }) => ({
    host: "0.0.0.0",
    port,
    site,
    target: `${homeName(host, site)}:${port}`,
  }));
  return {
    http: { host: "0.0.0.0", port: WAN_HTTP_PORT },
    sites: Object.fromEntries(
      topology.sites.map(({ name, subnet }) => [name, { subnets: [subnet] }]),
    ),
    links: ROUND_TRIPS.map(([one, other, rttMs]) => ({ between: [one, other], rttMs })),
    routes,
  };
}

function loadConfig({ name, http, grpc, edges }: ComposeTopology["regions"][number]) {
  return {
    region: name,
    seeds: [grpc, ...edges.map((edge) => edge.grpc)],
    http,
    ...LOAD,
  };
}
