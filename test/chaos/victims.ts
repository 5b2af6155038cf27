// Whom a planned fault strikes: of those in question, one that serves many streams at this moment.
import type { MeshLayout, RegionLayout } from "../../deploy/local/layout.ts";
import { CENTRAL } from "../../deploy/nats/config.ts";
import type { Victim } from "./fault-record.ts";
import type { FaultKind, PlannedFault } from "./fault-schedule.ts";

/** How many streams an edge serves now that don't come through one of these doors. */
export type MidwayAt = (edge: string, exceptDoors: readonly string[]) => number;

/** Faults that strike one edge, and whether its own door goes down too. */
const edgeKinds: Partial<Record<FaultKind, { readonly doorFalls: boolean }>> = {
  "edge-kill": { doorFalls: true },
  "edge-stop": { doorFalls: true },
  "edge-freeze": { doorFalls: true },
  "engine-kill": { doorFalls: false },
  "engine-freeze": { doorFalls: false },
  "link-black-hole": { doorFalls: false },
  "link-one-way": { doorFalls: false },
  "link-slow": { doorFalls: false },
  drain: { doorFalls: false },
};

/**
 * The victim, of regions that aren't `spared`; null when there is none. Among equals the plan's
 * draw decides.
 */
export function chooseVictim(
  { kind, draw }: PlannedFault,
  layout: MeshLayout,
  midwayAt: MidwayAt,
  spared: ReadonlySet<string> = new Set(),
): Victim | null {
  const inQuestion = victimsOf(kind, layout).filter(
    ({ regions }) => !regions.some((region) => spared.has(region)),
  );
  const streams = inQuestion.map((victim) => streamsOf(victim, midwayAt));
  const most = Math.max(0, ...streams);
  const busiest = inQuestion.filter((_, at) => streams[at] === most);
  return busiest[Math.floor(draw * busiest.length)] ?? null;
}

/** Streams that the victim serves and that outlive its doors. */
export function streamsOf({ edges, doors }: Victim, midwayAt: MidwayAt): number {
  return edges.reduce((sum, edge) => sum + midwayAt(edge, doors), 0);
}

function victimsOf(kind: FaultKind, layout: MeshLayout): Victim[] {
  const { regions, nats } = layout;
  const edgeKind = edgeKinds[kind];
  if (edgeKind !== undefined) return edgeVictims(regions, edgeKind.doorFalls);
  switch (kind) {
    case "gateway-kill":
      return regions.map(({ name }) => ({
        ...{ name, regions: [name], edges: [], doors: [name], watcher: "" },
      }));
    case "region-loss":
    case "region-dark":
      return regions.map(regionVictim);
    case "partition":
      return partitions(regions);
    case "nats-kill":
      return nats.map(({ name, region }) => ({
        ...{ name, regions: region === CENTRAL ? [] : [region], edges: [], doors: [], watcher: "" },
      }));
    default:
      return [{ name: "everybody", regions: [], edges: [], doors: [], watcher: "" }];
  }
}

function edgeVictims(regions: readonly RegionLayout[], doorFalls: boolean): Victim[] {
  return regions.flatMap(({ name: watcher, edges }) =>
    edges.map(({ name }) => ({
      ...{ name, regions: [watcher], edges: [name], doors: doorFalls ? [name] : [], watcher },
    })),
  );
}

function regionVictim({ name, edges }: RegionLayout): Victim {
  const names = edges.map((edge) => edge.name);
  return { name, regions: [name], edges: names, doors: [name, ...names], watcher: "" };
}

function partitions(regions: readonly RegionLayout[]): Victim[] {
  return regions.flatMap((from) =>
    regions
      .filter((to) => to !== from)
      .map((to) => ({
        name: `${from.name}>${to.name}`,
        regions: [from.name],
        ...{ edges: [], doors: [], watcher: "" },
      })),
  );
}
