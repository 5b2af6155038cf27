// Proxies on every way by which the processes of a local mesh find each other, so that a test can
// make one of these ways slow, silent or broken while the others go on.
import { type MeshShape, meshLayout } from "../../deploy/local/layout.ts";
import { meshWays, wiringOver } from "../../deploy/local/mesh-ways.ts";
import type { Wiring } from "../../deploy/nats/wiring.ts";
import type { Random } from "../../runtime/random.ts";
import { LinkProxy } from "./link-proxy.ts";

export interface MeshLinks extends AsyncDisposable {
  readonly via: Wiring;
  /**
   * The link by which `from` reaches `to`, both named as in mesh.json. An edge's callers and its
   * region share one, `link(region, edge)`; a gateway's callers have `link("anybody", region)`.
   */
  link(from: string, to: string): LinkProxy;
}

/** Starts the proxies for a mesh of this shape, all of them passing. */
export async function layLinks(shape: MeshShape, random: Random): Promise<MeshLinks> {
  // HTTP has no proxies: what is fetched by it can be fetched again.
  const ways = meshWays(meshLayout(shape)).filter(({ kind }) => kind !== "http");
  const byEnds = new Map<string, LinkProxy>();
  const laying = ways.map(async (way) => {
    const admits = (first: Buffer) => way.kind !== "gateway" || isFrom(way.fromSite, first);
    const link = await LinkProxy.listen({ target: way.address, random, admits });
    byEnds.set(`${way.from} ${way.to}`, link);
    return [way, link.address] as const;
  });
  const via = wiringOver(await Promise.all(laying));
  return {
    via,
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

/**
 * Whether a nats-server that begins so is that site's. Servers tell each other by which addresses
 * they reach a third one, and go there themselves once their own way is broken.
 */
function isFrom(site: string, first: Buffer): boolean {
  const name = /"gateway":"([^"]*)"/.exec(first.toString("latin1"))?.[1];
  return name === undefined || name === site;
}
