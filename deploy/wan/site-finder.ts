// At which site a caller is: this process has an address in the network of each, and the one at
// which it was called says which network the call came from.
import { BlockList } from "node:net";
import type { WanConfig } from "./config.ts";

/** The site at whose address a connection was accepted, or undefined where it is nobody's. */
export type SiteFinder = (localAddress: string) => string | undefined;

const MAPPED_PREFIX = "::ffff:";

export function siteFinder(sites: WanConfig["sites"]): SiteFinder {
  const nets = Object.entries(sites).map(([site, { subnets }]) => {
    const net = new BlockList();
    for (const subnet of subnets) {
      const [address = "", prefix] = subnet.split("/");
      net.addSubnet(address, Number(prefix));
    }
    return { site, net };
  });
  return (localAddress) => {
    const address = localAddress.replace(MAPPED_PREFIX, "");
    return nets.find(({ net }) => net.check(address))?.site;
  };
}
