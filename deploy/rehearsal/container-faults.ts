// Faults dealt to containers: killed or stopped, and started again.
import { systemClock } from "../../runtime/clock.ts";
import { edgeHost, instanceHost, REGION_INSTANCES } from "../compose/topology.ts";
import type { FaultRecord } from "./fault-cost.ts";
import { edgeStatus, holderOf } from "./mesh-view.ts";
import { containerOf, isOutOfReach, type Stage, strike, untilMidway } from "./stage.ts";

const STOP_GRACE_S = 10;
const STOP_MAX_MS = 30_000;

/** SIGKILL to the busiest edge of a region, its engine and all. */
export async function killEdge(stage: Stage, region: string): Promise<FaultRecord> {
  const edge = await untilMidway(stage, region);
  const host = edgeHost(edge);
  return strike(stage, {
    ...{ name: "edge killed", victim: edge, edges: [edge] },
    blow: () => kill(stage, [host]),
    isNoticed: () => isDoubted(region, edge),
    heal: () => start(stage, [host]),
  });
}

/** SIGTERM to the busiest edge: its streams end or move before it does. */
export async function stopEdge(stage: Stage, region: string): Promise<FaultRecord> {
  const edge = await untilMidway(stage, region);
  const host = edgeHost(edge);
  return strike(stage, {
    ...{ name: "edge stopped", victim: edge, edges: [edge], note: "SIGTERM" },
    blow: async () => {
      const words = ["stop", "-t", String(STOP_GRACE_S), containerOf(stage, host)];
      const sentMs = systemClock.now();
      await stage.docker.run(words, { timeoutMs: STOP_MAX_MS });
      return sentMs;
    },
    isNoticed: () => isDoubted(region, edge),
    heal: () => start(stage, [host]),
  });
}

/** SIGKILL to that of a region's coordinators which has the lease; callers may hang on it. */
export async function killRegion(stage: Stage, region: string): Promise<FaultRecord> {
  await untilMidway(stage, region);
  const [first, second] = REGION_INSTANCES;
  const holder = (await holderOf(instanceHost(region, first))) ?? first;
  const other = holder === first ? second : first;
  const host = instanceHost(region, holder);
  return strike(stage, {
    ...{ name: "region coordinator killed", victim: host, doorOf: region },
    blow: () => kill(stage, [host]),
    isNoticed: async () => (await holderOf(instanceHost(region, other))) === other,
    heal: () => start(stage, [host]),
  });
}

/** SIGKILL to both nats-servers of a region. */
export async function killNats(stage: Stage, region: string): Promise<FaultRecord> {
  await untilMidway(stage, region);
  const hosts = [`nats-${region}-g`, `nats-${region}-j`];
  return strike(stage, {
    ...{ name: "NATS killed", victim: hosts.join(" and ") },
    blow: () => kill(stage, hosts),
    isNoticed: () => isOutOfReach(region),
    heal: () => start(stage, hosts),
  });
}

async function isDoubted(region: string, edge: string): Promise<boolean> {
  const [first] = REGION_INSTANCES;
  const status = await edgeStatus(instanceHost(region, first), edge);
  return status !== undefined && status !== "ready";
}

/** When the order was given: the engine itself notes an end later than the mesh notices it. */
async function kill(stage: Stage, hosts: readonly string[]): Promise<number> {
  const orderedMs = systemClock.now();
  await stage.docker.run(["kill", "-s", "KILL", ...hosts.map((host) => containerOf(stage, host))]);
  return orderedMs;
}

async function start(stage: Stage, hosts: readonly string[]): Promise<void> {
  await stage.docker.run(["start", ...hosts.map((host) => containerOf(stage, host))]);
}
