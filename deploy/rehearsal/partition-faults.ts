// Faults of the network between the sites: a region without any way out, by taking the WAN out of
// its network, and by cutting its links.
import { systemClock } from "../../runtime/clock.ts";
import { composeTopology, remoteTargets } from "../compose/topology.ts";
import type { FaultRecord } from "./fault-cost.ts";
import { httpOf } from "./mesh-view.ts";
import { containerOf, isOutOfReach, type Stage, strike, untilMidway } from "./stage.ts";

const ORDER_MAX_MS = 5000;

/** `docker network disconnect`: the region's network loses the one container that leads out. */
export async function partition(stage: Stage, region: string): Promise<FaultRecord> {
  await untilMidway(stage, region);
  const wan = containerOf(stage, "wan");
  const network = stage.networks.get(region) ?? "";
  return strike(stage, {
    ...{ name: "region partitioned", victim: region, note: "network disconnect" },
    blow: async () => {
      const orderedMs = systemClock.now();
      await stage.docker.run(["network", "disconnect", network, wan]);
      return orderedMs;
    },
    isNoticed: () => isOutOfReach(region),
    heal: async () => {
      const aliases = aliasesIn(region).flatMap((alias) => ["--alias", alias]);
      await stage.docker.run(["network", "connect", ...aliases, network, wan]);
    },
  });
}

/** `isthmus wan cut`: connections go silent, and are not told so. */
export async function cutLinks(stage: Stage, region: string): Promise<FaultRecord> {
  await untilMidway(stage, region);
  const others = composeTopology()
    .sites.map(({ name }) => name)
    .filter((name) => name !== region);
  const order = (cut: boolean) => Promise.all(others.map((other) => turn(region, other, cut)));
  return strike(stage, {
    ...{ name: "links cut", victim: region, note: "wan cut" },
    blow: async () => {
      const orderedMs = systemClock.now();
      await order(true);
      return orderedMs;
    },
    isNoticed: () => isOutOfReach(region),
    heal: async () => void (await order(false)),
  });
}

/** The names under which a site finds what is elsewhere. */
function aliasesIn(region: string): string[] {
  const targets = remoteTargets(composeTopology());
  return [...new Set(targets.filter(({ site }) => site !== region).map(({ host }) => host))];
}

async function turn(one: string, other: string, cut: boolean): Promise<void> {
  const response = await fetch(`${httpOf("wan")}/links/${one}/${other}`, {
    method: "PATCH",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ cut }),
    signal: AbortSignal.timeout(ORDER_MAX_MS),
  });
  if (!response.ok) throw new Error(`the link ${one} - ${other}: ${await response.text()}`);
}
