// Proxies on every way by which the processes of a local mesh find each other, so that a test can
// make one of these ways slow, silent or broken while the others go on.
import {
  type EdgeLayout,
  type MeshLayout,
  type MeshShape,
  meshLayout,
  type RegionLayout,
} from "../../deploy/local/layout.ts";
import { ANYBODY, type Wiring } from "../../deploy/nats/wiring.ts";
import type { Random } from "../../runtime/random.ts";
import { LinkProxy } from "./link-proxy.ts";

/** Where nothing listens: what a server tells others of itself when each has a way of its own. */
const NOWHERE = "127.0.0.1:1";

export interface MeshLinks extends AsyncDisposable {
  readonly via: Wiring;
  /**
   * The link by which `from` reaches `to`, both named as in mesh.json. An edge's callers and its
   * region share one, `link(region, edge)`; a gateway's callers have `link("anybody", region)`.
   */
  link(from: string, to: string): LinkProxy;
}

/** One way to lay: who goes it, to whom, and what listens at its end. */
interface Way {
  readonly from: string;
  readonly to: string;
  readonly address: string;
}

/** Starts the proxies for a mesh of this shape, all of them passing. */
export async function layLinks(shape: MeshShape, random: Random): Promise<MeshLinks> {
  const ways = waysOf(meshLayout(shape));
  const byEnds = new Map<string, LinkProxy>();
  const byAddress = new Map<string, string>();
  const laid = ways.map(async ({ from, to, address }) => {
    const link = await LinkProxy.listen({ target: address, random });
    byEnds.set(`${from} ${to}`, link);
    byAddress.set(`${from} ${address}`, link.address);
  });
  await Promise.all(laid);
  for (const { from, address, to } of ways) {
    // The leaf of a site hears its server's address too, and must stay on its way.
    const own = byAddress.get(`${from} ${address}`) ?? NOWHERE;
    if (isLeafWay(from, to)) byAddress.set(`${ANYBODY} ${address}`, own);
    if (isGatewayWay(from, to)) byAddress.set(`${ANYBODY} ${address}`, NOWHERE);
  }
  return {
    via: (from, address) => byAddress.get(`${from} ${address}`) ?? address,
    link(from, to) {
      const link = byEnds.get(`${from} ${to}`);
      if (link === undefined) throw new Error(`no link was laid from ${from} to ${to}`);
      return link;
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([...byEnds.values()].map((link) => link.close()));
    },
  };
}

function waysOf(layout: MeshLayout): Way[] {
  const { regions } = layout;
  return [
    ...regions.flatMap((region) => [
      { from: ANYBODY, to: region.name, address: region.grpc },
      ...regions
        .filter((other) => other !== region)
        .map((other) => ({ from: region.name, to: other.name, address: other.grpc })),
      ...natsWays(layout, region.name, region.name),
      ...region.edges.flatMap((edge) => edgeWays(layout, region, edge)),
    ]),
    ...serverWays(layout),
  ];
}

function edgeWays(layout: MeshLayout, region: RegionLayout, edge: EdgeLayout): Way[] {
  return [
    { from: region.name, to: edge.name, address: edge.grpc },
    { from: edge.name, to: region.name, address: region.grpc },
    ...natsWays(layout, edge.name, region.name),
  ];
}

function natsWays({ nats }: MeshLayout, from: string, region: string): Way[] {
  return nats
    .filter((server) => server.region === region)
    .map(({ name, ports }) => ({ from, to: name, address: loopback(ports.client) }));
}

/** A leaf link in each site, and a gateway from each site to each other one. */
function serverWays({ nats }: MeshLayout): Way[] {
  const cores = nats.filter(({ kind }) => kind === "g");
  return cores.flatMap((core) => [
    {
      from: core.name.replace(/g$/, "j"),
      to: core.name,
      address: loopback(core.ports.leaf),
    },
    ...cores
      .filter((other) => other !== core)
      .map((other) => ({
        from: core.name,
        to: other.name,
        address: loopback(other.ports.gateway),
      })),
  ]);
}

const isServer = (name: string) => name.startsWith("nats-");
const isLeafWay = (from: string, to: string) => isServer(from) && isServer(to) && /j$/.test(from);
const isGatewayWay = (from: string, to: string) =>
  isServer(from) && isServer(to) && !/j$/.test(from);

function loopback(port: number | undefined): string {
  if (port === undefined) throw new Error("a server without the port that was asked for");
  return `127.0.0.1:${port}`;
}
