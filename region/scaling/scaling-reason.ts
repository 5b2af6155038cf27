// The terms of a decision on replicas, and the one that decided it, in words.
import type { ModelFacts } from "./model-facts.ts";
import type { ScalingRules } from "./scaling-rules.ts";

export interface DecisionTerms {
  /** Requests in the last minute. */
  readonly ratePerS: number;
  /** By how much they will have grown when an edge asked for now is up. */
  readonly growth: number;
  /** A request's mean time in its slot. */
  readonly serviceMs: number;
  readonly slotsPerEdge: number;
  readonly startUpMs: number;
  /** What is left of the target for waiting. */
  readonly waitMaxMs: number;
  readonly idleTtftMs: number;
  /** Requests that wait at edges and at gateways. */
  readonly waiting: number;
  /** Of a minute's requests, those predicted to miss the target; null when there were too few. */
  readonly lateShare: number | null;
  readonly idleMs: number;
  /** Edges that clear what waits. */
  readonly backlog: number;
  /** What would do for clearly more load as well: fewer than that is not worth going down to. */
  readonly lastingReplicas: number;
  /** What all of it comes to, before the bounds and what earlier minutes needed. */
  readonly neededReplicas: number;
}

export function reasonOf(
  replicas: number,
  wanted: number,
  terms: DecisionTerms,
  facts: ModelFacts,
  rules: ScalingRules,
): string {
  const { neededReplicas: needed, idleMs } = terms;
  const { replicasMin, replicasMax } = rules;
  const load = loadIn(terms, facts, rules);
  if (replicas === 0) return `asleep: nobody asked for ${minutes(idleMs)}`;
  if (needed > replicasMax) return `${load}: ${needed}, and ${replicasMax} is the most allowed`;
  if (replicas > wanted) {
    return `kept: the last ${minutes(rules.stabiliseMs)} needed them; now ${load}: ${wanted}`;
  }
  if (needed < replicasMin) return `the least allowed; ${load}: ${needed}`;
  return load;
}

function loadIn(terms: DecisionTerms, { held }: ModelFacts, rules: ScalingRules): string {
  const { ratePerS, growth, waiting, lateShare, serviceMs, idleTtftMs, startUpMs } = terms;
  const { ttftTargetMs } = rules;
  const parts: string[] = [];
  if (held > 0) parts.push(`${held} requests wait for an edge to come up`);
  parts.push(`${ratePerS.toFixed(2)} requests a second of ${seconds(serviceMs)} each`);
  if (growth > 1) {
    parts.push(`${growth.toFixed(2)} times as many when an edge is up, in ${seconds(startUpMs)}`);
  }
  if (waiting > held) parts.push(`${waiting - held} in queues`);
  if (lateShare !== null && lateShare > 0) {
    parts.push(`${(lateShare * 100).toFixed(0)} % predicted later than ${seconds(ttftTargetMs)}`);
  }
  if (idleTtftMs > ttftTargetMs) {
    parts.push(`even an idle edge takes ${seconds(idleTtftMs)}: more edges don't mend that`);
  }
  return parts.join(", ");
}

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;
const minutes = (ms: number): string => `${(ms / 60_000).toFixed(ms < 600_000 ? 1 : 0)} min`;
