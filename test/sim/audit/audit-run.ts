// The run that audits a whole mesh: callers of every kind, faults of every kind, edges of two
// versions. A seed and a size say everything about it, so that a failing one can be kept.
import { type SimulationOptions, type SimulationResult, simulate } from "../simulation.ts";
import { scenarioOf } from "../workload/scenario.ts";
import { profiles } from "../world/engine-profile.ts";
import type { Sabotage } from "../world/sabotage.ts";

/** What is kept of a seed that failed. */
export interface AuditSeed {
  readonly seed: number;
  readonly edges: number;
  readonly regions: number;
  readonly seconds: number;
  /** Requests a second; null for what the mesh's capacity comes to. */
  readonly ratePerS: number | null;
  /** What was wrong when it was kept. */
  readonly found: string;
}

/** Between two faults of an edge, were there only one; the more edges, the more faults. */
const EDGE_FAULT_EVERY_MS = 25_000;
const EDGE_FAULT_MIN_MS = 1000;
const REGION_FAULT_EVERY_MS = 30_000;
const REGION_FAULT_MIN_MS = 3000;
const OLD_SHARE = 0.2;
const LOSS_SHARE = 0.001;
/** Large meshes send the tokens of so many steps together; small ones those of each. */
const LARGE_EDGES = 1000;
const LARGE_STRIDE = 8;
/** And their answers are shorter: what is audited is how many there are, not how long. */
const LARGE_OUTPUT = { median: 60, sigma: 0.7, most: 400 } as const;

export function auditOptions(run: AuditSeed): SimulationOptions {
  const { seed, edges, regions, seconds, ratePerS } = run;
  const base = scenarioOf("faults")!;
  const perRegion = Math.max(1, Math.round(edges / regions));
  const each = Array.from(
    { length: perRegion },
    (_, at) => base.edges[at % base.edges.length] ?? profiles.medium,
  );
  const isLarge = edges >= LARGE_EDGES;
  const output = isLarge ? LARGE_OUTPUT : base.output;
  return {
    scenario: { ...base, regions, edges: each, output },
    ...{
      policy: "ours",
      seed,
      seconds,
      isVaried: true,
      oldShare: OLD_SHARE,
      lossShare: LOSS_SHARE,
    },
    ratePerS: ratePerS ?? undefined,
    stride: isLarge ? LARGE_STRIDE : 1,
    faults: {
      edgeEveryMs: Math.max(EDGE_FAULT_MIN_MS, EDGE_FAULT_EVERY_MS / edges),
      regionEveryMs: Math.max(REGION_FAULT_MIN_MS, REGION_FAULT_EVERY_MS / regions),
    },
  };
}

export function runAudit(
  run: AuditSeed,
  sabotage: Sabotage = {},
  onProgress?: SimulationOptions["onProgress"],
): Promise<SimulationResult> {
  const progress = onProgress === undefined ? {} : { onProgress };
  return simulate({ ...auditOptions(run), sabotage, ...progress });
}
