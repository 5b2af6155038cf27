// One run: a mesh, a workload, faults if there are any, time until all of it is over, and what came
// of it. The same options give the same trace hash.

import { driveFaults } from "./faults/fault-driver.ts";
import { drawFaults, type FaultKind, type PlannedFault } from "./faults/fault-plan.ts";
import { EventQueue } from "./kernel/event-queue.ts";
import { RandomStreams } from "./kernel/random-streams.ts";
import { TraceHash } from "./kernel/trace-hash.ts";
import type { PolicyName } from "./policies/policies.ts";
import type { Scenario } from "./workload/scenario.ts";
import { drawWorkload } from "./workload/workload.ts";
import type { CallRecord } from "./world/caller-site.ts";
import type { Sabotage } from "./world/sabotage.ts";
import { type MeshPlan, type RegionPlan, SimMesh } from "./world/sim-mesh.ts";

export interface SimulationOptions {
  readonly scenario: Scenario;
  readonly policy: PolicyName;
  readonly seed: number;
  readonly seconds: number;
  readonly ratePerS?: number | undefined;
  readonly isVaried: boolean;
  readonly oldShare: number;
  readonly lossShare: number;
  /** Decode steps whose tokens travel together. */
  readonly stride: number;
  readonly faults: {
    readonly edgeEveryMs: number;
    readonly regionEveryMs: number;
    readonly only?: readonly FaultKind[] | undefined;
  } | null;
  /** A bug planted on purpose. */
  readonly sabotage?: Sabotage;
  /** Called now and then with the simulated time. */
  readonly onProgress?: (simulatedMs: number, events: number) => void;
}

export interface SimulationResult {
  readonly mesh: SimMesh;
  readonly records: readonly CallRecord[];
  readonly faults: readonly PlannedFault[];
  readonly trace: string;
  readonly events: number;
  readonly seconds: number;
  /** When the last request could have come. */
  readonly untilMs: number;
  readonly ratePerS: number;
}

const MODEL = "m";
/** Time for everything to settle before the first request. */
const WARM_UP_MS = 3000;
/** After the last request everything must end within so long. */
const DRAIN_MS = 120_000;
/** Longer than the longest that anything takes to be noticed. */
const SETTLE_MS = 15_000;
/** Faults strike in this part of the run; then the mesh has to recover while it works. */
const FAULTS_UNTIL = 0.85;
const SLICE_MS = 5000;
/** Regions that fall under the regime that some requests ask for: every so many. */
const GDPR_EVERY = 3;
const PREFIX_BLOCKS_MAX = 100_000;

export async function simulate(options: SimulationOptions): Promise<SimulationResult> {
  const { scenario, seed, seconds, policy, onProgress } = options;
  const queue = new EventQueue();
  const streams = new RandomStreams(seed);
  const trace = new TraceHash();
  const records: CallRecord[] = [];
  const regions = regionsOf(scenario);
  const plan: MeshPlan = {
    ...{ regions, model: MODEL, policy, oldShare: options.oldShare, stride: options.stride },
    ...{ lossShare: options.lossShare, prefixBlocksMax: PREFIX_BLOCKS_MAX },
    sabotage: options.sabotage ?? {},
  };
  const onEnd = (record: CallRecord) => void records.push(record);
  const mesh = new SimMesh({ plan, queue, streams, trace, onEnd });
  const { ratePerS, isVaried } = options;
  const workload = drawWorkload(
    { ...{ scenario, regions, model: MODEL, seconds, ratePerS, isVaried } },
    streams,
  );
  let next = 0;
  const arrive = queue.register(() => {
    mesh.issue(workload.arrivals[next]!.request());
    next += 1;
    const following = workload.arrivals[next];
    if (following !== undefined) queue.push(WARM_UP_MS + following.atMs, arrive, 0);
  });
  if (workload.arrivals.length > 0) queue.push(WARM_UP_MS + workload.arrivals[0]!.atMs, arrive, 0);
  const faults = faultsOf(options, mesh, streams);
  driveFaults(mesh, faults, queue, trace);
  const endMs = WARM_UP_MS + seconds * 1000 + DRAIN_MS;
  for (let untilMs = 0; untilMs < endMs; ) {
    untilMs = Math.min(untilMs + SLICE_MS, endMs);
    while (!queue.runUntil(untilMs)) await promisesRun(queue);
    onProgress?.(untilMs, queue.handled);
    const isOver = next >= workload.arrivals.length && mesh.auditor.open === 0;
    if (isOver && untilMs >= WARM_UP_MS + seconds * 1000 + SLICE_MS) break;
  }
  await settle(queue);
  checkDrained(mesh);
  return {
    ...{ mesh, records, faults, trace: trace.digest, events: queue.handled, seconds },
    untilMs: WARM_UP_MS + seconds * 1000,
    ratePerS: workload.ratePerS,
  };
}

/** What an end set free (aborts on their way, trunks that reconnect) gets its time. */
async function settle(queue: EventQueue): Promise<void> {
  const untilMs = queue.nowMs + SETTLE_MS;
  while (!queue.runUntil(untilMs)) await promisesRun(queue);
}

/** The faults are healed and nobody asks any more: nothing may be left anywhere. */
function checkDrained({ auditor, edges, regions, sites }: SimMesh): void {
  auditor.left("requests without an outcome", auditor.open);
  for (const { process, active, queued, engine } of edges) {
    auditor.left(`slots still taken at ${process.name}`, active);
    auditor.left(`requests still waiting at ${process.name}`, queued);
    auditor.left(`jobs still in the engine of ${process.name}`, engine.active);
    auditor.left(`processes of ${process.name} not running`, process.isRunning ? 0 : 1);
  }
  for (const { process, streams, underway, unready, known, options } of regions) {
    auditor.left(`streams still open at the gateway of ${process.name}`, streams);
    auditor.left(`tries still counted at the gateway of ${process.name}`, underway);
    auditor.left(`edges of ${process.name} that are not ready`, unready);
    const there = edges.filter((edge) => edge.options.region === options.name).length;
    auditor.left(`edges that ${process.name} doesn't know`, there - known);
  }
  for (const { streams } of sites) auditor.left("streams still open at callers", streams);
}

/** Lets every promise that can settle do so; a turn of Node's loop runs them all. */
async function promisesRun(queue: EventQueue): Promise<void> {
  queue.hasPromises = false;
  await new Promise((resolve) => setImmediate(resolve));
}

function regionsOf({ regions, edges }: Scenario): RegionPlan[] {
  return Array.from({ length: regions }, (_, at) => ({
    name: `r${at}`,
    jurisdictions: at % GDPR_EVERY === 0 ? ["gdpr"] : [],
    gramsCo2PerKwh: 50 + ((at * 137) % 600),
    edges,
  }));
}

function faultsOf(
  { faults, seconds }: SimulationOptions,
  mesh: SimMesh,
  streams: RandomStreams,
): PlannedFault[] {
  if (faults === null) return [];
  return drawFaults(
    {
      ...{ edges: mesh.edges.length, regions: mesh.regions.length, fromMs: WARM_UP_MS },
      untilMs: WARM_UP_MS + seconds * 1000 * FAULTS_UNTIL,
      edgeFaultEveryMs: faults.edgeEveryMs,
      regionFaultEveryMs: faults.regionEveryMs,
      only: faults.only,
    },
    streams.of("faults"),
  );
}
