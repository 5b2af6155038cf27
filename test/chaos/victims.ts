// Whom a planned fault strikes: of those in question, one that serves streams at this moment.
import type { MeshLayout } from "../../deploy/local/layout.ts";
import type { Victim } from "./fault-record.ts";
import type { FaultKind, PlannedFault } from "./fault-schedule.ts";

/** How many streams an edge serves now. */
export type MidwayAt = (edge: string) => number;

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

export function chooseVictim(
  { kind, draw }: PlannedFault,
  layout: MeshLayout,
  midwayAt: MidwayAt,
): Victim {
  const busiestOf = (victims: readonly Victim[]) => busiest(victims, draw, midwayAt);
  const edgeKind = edgeKinds[kind];
  if (edgeKind !== undefined) return busiestOf(edgeVictims(layout, edgeKind.doorFalls));
  switch (kind) {
    case "gateway-kill":
      return busiestOf(
        layout.regions.map(({ name }) => ({ name, edges: [], doors: [name], watcher: "" })),
      );
    case "region-loss":
      return busiestOf(layout.regions.map(({ name, edges }) => regionVictim(name, edges)));
    case "partition":
      return drawn(partitions(layout), draw);
    case "nats-kill":
      return drawn(
        layout.nats.map(({ name }) => ({ name, edges: [], doors: [], watcher: "" })),
        draw,
      );
    default:
      return { name: "everybody", edges: [], doors: [], watcher: "" };
  }
}

function edgeVictims({ regions }: MeshLayout, doorFalls: boolean): Victim[] {
  return regions.flatMap(({ name: watcher, edges }) =>
    edges.map(({ name }) => ({ name, edges: [name], doors: doorFalls ? [name] : [], watcher })),
  );
}

function regionVictim(name: string, edges: readonly { readonly name: string }[]): Victim {
  const names = edges.map((edge) => edge.name);
  return { name, edges: names, doors: [name, ...names], watcher: "" };
}

function partitions({ regions }: MeshLayout): Victim[] {
  return regions.flatMap((from) =>
    regions
      .filter((to) => to !== from)
      .map((to) => ({ name: `${from.name}>${to.name}`, edges: [], doors: [], watcher: "" })),
  );
}

/** One of those with the most streams midway. */
function busiest(victims: readonly Victim[], draw: number, midwayAt: MidwayAt): Victim {
  const streams = ({ edges }: Victim) => edges.reduce((sum, edge) => sum + midwayAt(edge), 0);
  const most = Math.max(...victims.map(streams));
  const inQuestion = victims.filter((victim) => streams(victim) === most);
  return drawn(inQuestion, draw);
}

function drawn(victims: readonly Victim[], draw: number): Victim {
  const victim = victims[Math.floor(draw * victims.length)];
  if (victim === undefined) throw new Error("nobody to strike");
  return victim;
}
