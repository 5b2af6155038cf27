// Deals one fault after another to a mesh, watches whether it is noticed, and takes it back.

import { pause } from "../../deploy/load/callers.ts";
import type { Clock } from "../../runtime/clock.ts";
import { deal, type Scene } from "./fault-drivers.ts";
import type { FaultRecord, Victim } from "./fault-record.ts";
import type { FaultKind, PlannedFault } from "./fault-schedule.ts";
import { whenSuspected, whenWhole } from "./membership-watch.ts";
import { KindMissing } from "./operator.ts";
import { chooseVictim, type MidwayAt, streamsOf } from "./victims.ts";

/** A fault waits so long for so many streams to strike. */
const QUARRY_MAX_MS = 3000;
const QUARRY_STREAMS = 2;
const QUARRY_POLL_MS = 2;
/** From a fault's end to a mesh that is whole, at most. */
const WHOLE_MAX_MS = 45_000;

export interface DealerOptions {
  readonly scene: Scene;
  readonly clock: Clock;
  readonly midwayAt: MidwayAt;
  /** Regions that a dealer strikes now; dealers at work at once share it and spare each other's. */
  readonly struck: Set<string>;
  readonly plan: Iterator<PlannedFault>;
  readonly stop: AbortSignal;
  readonly onFault: (record: FaultRecord) => void;
}

export interface DealtFaults {
  readonly records: readonly FaultRecord[];
  /** Kinds that this mesh doesn't offer. */
  readonly missing: ReadonlySet<FaultKind>;
}

/** Deals faults one by one until told to stop; the last one is taken back too. */
export async function dealFaults(options: DealerOptions): Promise<DealtFaults> {
  const records: FaultRecord[] = [];
  const missing = new Set<FaultKind>();
  while (!options.stop.aborted) {
    const { value: planned } = options.plan.next();
    if (missing.has(planned.kind)) {
      await pause(options.clock, QUARRY_POLL_MS); // there may be no other kind to deal
      continue;
    }
    try {
      await dealOne(options, planned, records);
    } catch (thrown) {
      if (!(thrown instanceof KindMissing)) throw thrown;
      missing.add(planned.kind);
      continue;
    }
    await pause(options.clock, planned.calmMs);
  }
  return { records, missing };
}

async function dealOne(
  options: DealerOptions,
  planned: PlannedFault,
  records: FaultRecord[],
): Promise<void> {
  const { scene, clock, midwayAt, onFault, struck } = options;
  const victim = await awaitQuarry(options, planned);
  if (victim === null || options.stop.aborted) return;
  for (const region of victim.regions) struck.add(region);
  const dealtMs = clock.monotonicMs();
  const midway = streamsOf(victim, midwayAt);
  const record: FaultRecord = {
    ...{ kind: planned.kind, victim, midway, dealtMs },
    ...{ healedMs: 0, wholeMs: 0, suspectedMs: null, problem: "" },
  };
  records.push(record);
  const over = new AbortController();
  let suspected: Promise<number | null> = Promise.resolve(null);
  try {
    const heal = await deal(planned.kind, scene, victim);
    const [edge] = victim.edges;
    if (victim.watcher !== "" && edge !== undefined) {
      suspected = whenSuspected(scene.mesh, clock, victim.watcher, edge, over.signal);
    }
    await pause(clock, planned.holdMs);
    await heal();
  } catch (thrown) {
    if (thrown instanceof KindMissing) {
      records.pop();
      throw thrown;
    }
    record.problem = thrown instanceof Error ? thrown.message : String(thrown);
  } finally {
    over.abort();
    record.suspectedMs = await suspected;
  }
  record.healedMs = clock.monotonicMs();
  record.wholeMs = await whenWhole(scene.mesh, clock, victim.regions, WHOLE_MAX_MS);
  for (const region of victim.regions) struck.delete(region);
  if (record.wholeMs === 0) record.problem ||= `not whole ${WHOLE_MAX_MS / 1000} s later`;
  onFault(record);
}

/** Whom to strike, once it has streams midway; after a while, whoever the draw says, if anybody. */
async function awaitQuarry(options: DealerOptions, planned: PlannedFault): Promise<Victim | null> {
  const { scene, clock, midwayAt, struck } = options;
  const endMs = clock.monotonicMs() + QUARRY_MAX_MS;
  for (;;) {
    const victim = chooseVictim(planned, scene.mesh.handle.layout, midwayAt, struck);
    const isReady = victim !== null && (isIdle(victim) || enough(victim, midwayAt));
    if (isReady || clock.monotonicMs() >= endMs) return victim;
    await pause(clock, QUARRY_POLL_MS);
  }
}

const isIdle = ({ edges }: Victim) => edges.length === 0;
const enough = (victim: Victim, midwayAt: MidwayAt) =>
  streamsOf(victim, midwayAt) >= QUARRY_STREAMS;
