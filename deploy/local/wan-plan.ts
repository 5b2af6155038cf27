// The emulated network of a local mesh: a port for every way that leaves a site, and the wiring
// that leads the processes through it.
import { CENTRAL } from "../nats/config.ts";
import type { Wiring } from "../nats/wiring.ts";
import type { MeshLayout } from "./layout.ts";
import { meshWays, wiringOver } from "./mesh-ways.ts";

const LOOPBACK = "127.0.0.1";

export interface WanPlan {
  /** Of its control API. */
  readonly http: string;
  /** What it is run with. */
  readonly config: object;
  /** Where the processes of the mesh find each other, in place of where they listen. */
  readonly via: Wiring;
  readonly ports: readonly { readonly port: number; readonly owner: string }[];
}

/** Ports of the network of so many regions: its own, and those of every way between sites. */
export function wanPortSpan(regions: number): number {
  const gateways = (regions + 1) * regions;
  const peers = 2 * regions * (regions - 1);
  return 1 + gateways + peers + regions;
}

/** Plans the network of a mesh laid out without it; it takes the ports from `portBase` on. */
export function wanPlan(layout: MeshLayout, portBase: number): WanPlan {
  const sites = [CENTRAL, ...layout.regions.map(({ name }) => name)];
  const ways = meshWays(layout)
    .filter(({ fromSite, toSite }) => fromSite !== toSite && sites.includes(fromSite))
    .map((way, index) => ({ way, port: portBase + 1 + index }));
  return {
    http: `http://${LOOPBACK}:${portBase}`,
    config: {
      http: { host: LOOPBACK, port: portBase },
      sites: Object.fromEntries(sites.map((site) => [site, {}])),
      routes: ways.map(({ way, port }) => ({
        port,
        from: way.fromSite,
        site: way.toSite,
        target: way.address,
      })),
    },
    via: wiringOver(ways.map(({ way, port }) => [way, `${LOOPBACK}:${port}`] as const)),
    ports: [
      { port: portBase, owner: "the emulated network, HTTP" },
      ...ways.map(({ way, port }) => ({
        port,
        owner: `the emulated network, ${way.from} to ${way.to} (${way.kind})`,
      })),
    ],
  };
}
