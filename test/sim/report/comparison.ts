// Runs several policies on one workload and says how ours stands against the best of the others.
import type { PolicyName } from "../policies/policies.ts";
import { type SimulationResult, simulate } from "../simulation.ts";
import type { Scenario } from "../workload/scenario.ts";
import { type Metrics, measure, ttftsOf, WARM_UP_MS } from "./metrics.ts";

/** Of the best of the others' p99 to the first token: what ours is meant to stay below. */
export const TARGET_RATIO = 0.7;
/** Between two faults, in the scenario that has them. */
const EDGE_FAULT_EVERY_MS = 4000;
const REGION_FAULT_EVERY_MS = 20_000;

export interface PolicyRun {
  readonly policy: PolicyName;
  readonly metrics: Metrics;
  readonly ttftsMs: readonly number[];
  readonly traces: readonly string[];
  /** What an audit found wrong, all seeds together. */
  readonly violations: number;
}

export interface RunOptions {
  readonly scenario: Scenario;
  readonly seeds: readonly number[];
  readonly seconds: number;
}

export async function runPolicy(policy: PolicyName, options: RunOptions): Promise<PolicyRun> {
  const { scenario, seeds, seconds } = options;
  const results: SimulationResult[] = [];
  for (const seed of seeds) {
    results.push(
      await simulate({
        ...{ scenario, policy, seed, seconds, isVaried: false, oldShare: 0, lossShare: 0.001 },
        stride: 1,
        faults: scenario.hasFaults
          ? { edgeEveryMs: EDGE_FAULT_EVERY_MS, regionEveryMs: REGION_FAULT_EVERY_MS }
          : null,
      }),
    );
  }
  const measured = results.flatMap(({ records }) =>
    records.filter(({ issuedMs, fault }) => issuedMs >= WARM_UP_MS && fault !== "cancelled"),
  );
  return {
    policy,
    metrics: measure(results),
    ttftsMs: ttftsOf(measured),
    traces: results.map(({ trace }) => trace),
    violations: results.reduce((sum, { mesh }) => sum + mesh.auditor.total, 0),
  };
}

export interface Standing {
  readonly best: PolicyName;
  /** Our p99 to the first token over theirs. */
  readonly ratio: number;
  readonly isMet: boolean;
}

/** Null without ours, or without any other. */
export function standingOf(runs: readonly PolicyRun[]): Standing | null {
  const ours = runs.find(({ policy }) => policy === "ours");
  const others = runs.filter(({ policy }) => policy !== "ours");
  if (ours === undefined || others.length === 0) return null;
  const p99 = ({ metrics }: PolicyRun) => metrics.ttftMs.p99;
  const best = others.reduce((least, run) => (p99(run) < p99(least) ? run : least));
  const ratio = p99(ours) / p99(best);
  return { best: best.policy, ratio, isMet: ratio <= TARGET_RATIO };
}
