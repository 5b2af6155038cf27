// Every way by which a process of a mesh finds another, so that something can be laid on it: a
// proxy of a test, or the emulated network between sites.
import { CENTRAL, type NatsServerPlan } from "../nats/config.ts";
import { ANYBODY, type Wiring } from "../nats/wiring.ts";
import type { EdgeLayout, MeshLayout, RegionLayout } from "./layout.ts";

/** Where nothing listens: what a server tells others of itself when each has a way of its own. */
const NOWHERE = "127.0.0.1:1";

/** Who goes to whom, both named as in mesh.json; where the two are, what listens at the end. */
export interface MeshWay {
  readonly kind: "http" | "grpc" | "nats" | "leaf" | "gateway";
  /** A gateway's callers are "anybody", at a site of that name. */
  readonly from: string;
  readonly to: string;
  /** A region, or central. */
  readonly fromSite: string;
  readonly toSite: string;
  /** host:port */
  readonly address: string;
}

type WaysLayout = Pick<MeshLayout, "coordinator" | "regions" | "nats">;

export function meshWays(layout: WaysLayout): MeshWay[] {
  const { regions, coordinator } = layout;
  const regionWays = regions.flatMap((region): MeshWay[] => [
    wayTo(region, "grpc", ANYBODY, ANYBODY),
    {
      kind: "http",
      from: region.name,
      to: "coordinator",
      fromSite: region.name,
      toSite: CENTRAL,
      address: hostPort(coordinator.http),
    },
    ...regions
      .filter((other) => other !== region)
      .flatMap((other) => [
        wayTo(other, "grpc", region.name, region.name),
        wayTo(other, "http", region.name, region.name),
      ]),
    ...natsWays(layout, region.name, region.name),
    ...region.edges.flatMap((edge) => edgeWays(layout, region, edge)),
  ]);
  return [...regionWays, ...serverWays(layout)];
}

/** The wiring that leads each process over what was laid: every way with its new host:port. */
export function wiringOver(laid: readonly (readonly [MeshWay, string])[]): Wiring {
  const byAddress = new Map(laid.map(([{ from, address }, at]) => [`${from} ${address}`, at]));
  for (const [{ kind, address }, at] of laid) {
    // The leaf of a site hears its server's address too, and must stay on its way.
    if (kind === "leaf") byAddress.set(`${ANYBODY} ${address}`, at);
    if (kind === "gateway") byAddress.set(`${ANYBODY} ${address}`, NOWHERE);
  }
  return (from, address) => byAddress.get(`${from} ${address}`) ?? address;
}

/** To a region's own HTTP or gRPC. */
function wayTo(to: RegionLayout, kind: "http" | "grpc", from: string, fromSite: string): MeshWay {
  const address = kind === "grpc" ? to.grpc : hostPort(to.http);
  return { kind, from, to: to.name, fromSite, toSite: to.name, address };
}

function edgeWays(layout: WaysLayout, region: RegionLayout, edge: EdgeLayout): MeshWay[] {
  const { name } = region;
  const toEdge = { from: name, to: edge.name, fromSite: name, toSite: name };
  return [
    { ...toEdge, kind: "grpc", address: edge.grpc },
    wayTo(region, "grpc", edge.name, name),
    wayTo(region, "http", edge.name, name),
    ...natsWays(layout, edge.name, name),
  ];
}

function natsWays({ nats }: WaysLayout, from: string, site: string): MeshWay[] {
  return nats
    .filter(({ region }) => region === site)
    .map(({ name, url }) => ({
      kind: "nats",
      from,
      to: name,
      fromSite: site,
      toSite: site,
      address: hostPort(url),
    }));
}

/** A leaf link in each site, and a gateway from each site to each other one. */
function serverWays({ nats }: WaysLayout): MeshWay[] {
  const cores = nats.filter(({ kind }) => kind === "g");
  return cores.flatMap((core): MeshWay[] => {
    const leaf = nats.find(({ kind, region }) => kind === "j" && region === core.region);
    const others = cores.filter((other) => other !== core);
    return [
      ...(leaf === undefined ? [] : [serverWay("leaf", leaf, core)]),
      ...others.map((other) => serverWay("gateway", core, other)),
    ];
  });
}

function serverWay(kind: "leaf" | "gateway", from: NatsServerPlan, to: NatsServerPlan): MeshWay {
  const port = to.ports[kind];
  if (port === undefined) throw new Error(`${to.name} has no port for a ${kind}`);
  return {
    kind,
    from: from.name,
    to: to.name,
    fromSite: from.region,
    toSite: to.region,
    address: `${new URL(to.url).hostname}:${port}`,
  };
}

function hostPort(url: string): string {
  return new URL(url).host;
}
