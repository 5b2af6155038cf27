// At which port of this machine, on the loopback address, a container's HTTP is found from outside.
import { EDGES_PER_REGION, edgeHost, instanceHost, REGION_INSTANCES, REGIONS } from "./topology.ts";

const COORDINATOR_PORT = 9400;
const WAN_PORT = 9490;
const REGION_BASE = 9410;
const PORTS_PER_REGION = 10;
/** After the instances of a region's coordinator. */
const EDGE_OFFSET = 4;

/** By host: 9400 the coordinator, 9490 the WAN; from 9410, 9420, ... each region and its edges. */
export function publishedPorts(): Readonly<Record<string, number>> {
  const ports: Record<string, number> = { coordinator: COORDINATOR_PORT, wan: WAN_PORT };
  for (const [index, region] of REGIONS.entries()) {
    const base = REGION_BASE + PORTS_PER_REGION * index;
    for (const [at, instance] of REGION_INSTANCES.entries()) {
      ports[instanceHost(region, instance)] = base + at;
    }
    for (let edge = 1; edge <= EDGES_PER_REGION; edge += 1) {
      ports[edgeHost(`${region}-${edge}`)] = base + EDGE_OFFSET + edge;
    }
  }
  return ports;
}
