// Our own routing as the simulated gateways use it: the real RouteTable, nothing beside it.
import { RouteTable } from "../../../region/route/route-table.ts";
import type { RegionTraits, SimRouter } from "./sim-router.ts";

export function createOurRouter(region: string, traits: RegionTraits): SimRouter {
  const { jurisdictions, gramsCo2PerKwh } = traits;
  return new RouteTable({
    region,
    labels: { jurisdictions: [...jurisdictions], gramsCo2PerKwh },
    prefixBlocksMax: traits.prefixBlocksMax,
  });
}
