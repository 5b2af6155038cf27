// What every fault of a rehearsal works with: the containers, what the generators tell, and the
// steps that all faults have in common.
import { systemClock } from "../../runtime/clock.ts";
import {
  EDGES_PER_REGION,
  edgeHost,
  instanceHost,
  REGION_INSTANCES,
  REGIONS,
} from "../compose/topology.ts";
import type { Docker } from "./docker.ts";
import type { FaultRecord } from "./fault-cost.ts";
import { ask, edgeStatus, meshStatus, missingOf } from "./mesh-view.ts";
import type { StreamWatch } from "./stream-watch.ts";
import { pause, until } from "./until.ts";

/** Streams go on under a fault for so long before it is healed. */
const HOLD_MS = 8000;
const NOTICE_MAX_MS = 30_000;
const NOTICE_EVERY_MS = 100;
const FLOWING_MAX_MS = 120_000;
/** An edge loads its model again meanwhile, and links are made anew. */
const WHOLE_MAX_MS = 240_000;

export interface Stage {
  readonly docker: Docker;
  /** Container ids by service. */
  readonly containers: ReadonlyMap<string, string>;
  /** The engine's names of the networks, by site. */
  readonly networks: ReadonlyMap<string, string>;
  readonly streams: StreamWatch;
  readonly say: (line: string) => void;
  readonly signal: AbortSignal;
}

export interface Strike {
  readonly name: string;
  readonly victim: string;
  readonly edges?: readonly string[];
  readonly doorOf?: string;
  /** Unix milliseconds when it took effect. */
  readonly blow: () => Promise<number>;
  /** Whether somebody in the mesh is seen to know. */
  readonly isNoticed?: () => Promise<boolean>;
  readonly heal: () => Promise<void>;
  readonly note?: string;
}

/** Deals a fault while streams flow, heals it, and waits for the mesh to be whole. */
export async function strike(stage: Stage, fault: Strike): Promise<FaultRecord> {
  const { name, victim, edges = [], doorOf = null, note = "" } = fault;
  stage.say(`${name}: ${victim}`);
  const watching = new AbortController();
  const noticed = firstNotice(fault, AbortSignal.any([stage.signal, watching.signal]));
  const dealtMs = await fault.blow();
  await pause(HOLD_MS);
  const limit = systemClock.after(NOTICE_MAX_MS - HOLD_MS, () => watching.abort());
  const noticedMs = await noticed;
  limit.cancel();
  await fault.heal();
  await untilWhole(stage, `${name} of ${victim}`);
  const wholeMs = systemClock.now();
  return { name, victim, edges, doorOf, dealtMs, noticedMs, wholeMs, note };
}

/** The busiest edge of a region, once a stream of the SDK runs there. */
export async function untilMidway(stage: Stage, region: string): Promise<string> {
  const { streams, signal } = stage;
  const wait = { what: `a stream in ${region}`, withinMs: FLOWING_MAX_MS, signal };
  const { edge } = await until({ ...wait, everyMs: NOTICE_EVERY_MS }, () => {
    const busiest = streams.busiest(region);
    return busiest === undefined ? "none runs" : { edge: busiest };
  });
  return edge;
}

/** Every role ready, every region in reach, every edge in its region's routing. */
export async function untilWhole({ signal }: Stage, what: string): Promise<void> {
  await until({ what: `whole after ${what}`, withinMs: WHOLE_MAX_MS, signal }, async () => {
    const shape = { regions: REGIONS, edges: EDGES_PER_REGION };
    const missing = missingOf(await meshStatus(), shape);
    if (missing !== null) return missing;
    for (const region of REGIONS) {
      for (const instance of REGION_INSTANCES) {
        const host = instanceHost(region, instance);
        if ((await ask(host, "/readyz")) === undefined) return `${host} isn't ready`;
        for (let at = 1; at <= EDGES_PER_REGION; at += 1) {
          const edge = `${region}-${at}`;
          const status = await edgeStatus(host, edge);
          if (status !== "ready") return `${host} calls ${edge} ${status ?? "nothing"}`;
          if ((await ask(edgeHost(edge), "/readyz")) === undefined) return `${edge} isn't ready`;
        }
      }
    }
    return { isWhole: true };
  });
}

export function containerOf({ containers }: Stage, service: string): string {
  const id = containers.get(service);
  if (id === undefined) throw new Error(`there is no container of ${service}`);
  return id;
}

/** Whether the centre has lost a region from sight. */
export async function isOutOfReach(region: string): Promise<boolean> {
  const status = await meshStatus();
  return status?.regions.find((one) => one.region === region)?.reachable === false;
}

async function firstNotice({ isNoticed }: Strike, stop: AbortSignal): Promise<number | null> {
  while (isNoticed !== undefined && !stop.aborted) {
    if (await isNoticed()) return systemClock.now();
    await pause(NOTICE_EVERY_MS);
  }
  return null;
}
