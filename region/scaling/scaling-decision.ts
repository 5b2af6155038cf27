// How many edges a model should have, and why: from what the region sees of it, and what it asked
// for before. No I/O and no clock: feed it facts with the time, about once a second.
//
// More edges are asked for at once, fewer only when none of the last minutes needed them. What
// counts is how requests come, not how they queue, so that edges which start slowly are not ordered
// over and over for the same waiting requests (what users of Knative's panic mode complain of,
// knative/serving#13284), and what a burst asked for holds as long as anything else (#3153).
import { LoadWindow } from "./load-window.ts";
import type { ModelFacts } from "./model-facts.ts";
import { edgesNeeded } from "./queue-replay.ts";
import { type DecisionTerms, reasonOf } from "./scaling-reason.ts";
import type { ScalingRules } from "./scaling-rules.ts";

export interface ScalingDecision {
  readonly replicas: number;
  readonly reason: string;
  readonly terms: DecisionTerms;
}

/** Knative's stable-window (config-autoscaler, default 60s). */
const STABLE_MS = 60_000;
/** As often as a HorizontalPodAutoscaler looks (--horizontal-pod-autoscaler-sync-period 15s). */
const BURST_MS = 15_000;
/** The load that is looked back on. */
const WINDOW_MS = 300_000;
/** No rise makes of a load more than this many times what it is. */
const GROWTH_MAX = 2;
/** The share of first tokens that may be late. */
const MISS_SHARE_MAX = 0.05;
/** With fewer requests in a minute, one late one says nothing. */
const ROUTED_MIN = 20;
/** Of the target, what is left to wait even where an idle edge takes all of it or more. */
const WAIT_SHARE_MIN = 0.1;
/**
 * Requests that wait should all have begun within so long of their edges being up, or as long as
 * an edge takes to come up: what takes longer to order than to wait out isn't ordered.
 */
const DRAIN_MS = 30_000;
/**
 * A HorizontalPodAutoscaler lets a difference of a tenth be (--horizontal-pod-autoscaler-tolerance
 * 0.1): a smaller step up would never be taken, a smaller one down isn't worth it.
 */
const TOLERANCE = 0.1;
/**
 * Beyond the mean time in a slot as it was measured: streams that share a busy edge slow each other
 * down, and no two take equally long. Found by simulation (npm run simulate:scaling): without it a
 * rising load missed four times as often, at hardly less cost.
 */
const HEADROOM = 1.2;
/** Edges go when the rest could take so much more than the load is: what is left has to last. */
const DOWN_MARGIN = 1.1;
/** A share of one edge that requests served elsewhere must fill before a sleeping model wakes. */
const WAKE_SHARE = 0.25;

interface Told {
  readonly atMs: number;
  readonly replicas: number;
}

/** What is remembered of one model between decisions. */
export class ScalingMemory {
  readonly load = new LoadWindow(WINDOW_MS);
  /** What each moment needed; only those that a later one doesn't exceed. */
  readonly needs: Told[] = [];
  replicas: number | null = null;
  arrived = 0;
  /** All requests that were in some count at the last look. */
  known: number | null = null;
  usedMs: number;
  /** Edges there were last, and since when there are as many. */
  ready = 0;
  readySinceMs: number;

  /** From `nowMs` on it counts as idle. */
  constructor(nowMs: number) {
    this.usedMs = nowMs;
    this.readySinceMs = nowMs;
  }
}

/** Takes what is seen now, and decides. `nowMs` never goes back. */
export function decideReplicas(
  memory: ScalingMemory,
  facts: ModelFacts,
  rules: ScalingRules,
  nowMs: number,
): ScalingDecision {
  observe(memory, facts, nowMs);
  const terms = termsOf(memory, facts, rules, nowMs);
  const { replicasMin, replicasMax } = rules;
  const wanted = Math.min(replicasMax, Math.max(replicasMin, terms.neededReplicas));
  // A process that has just started knows nothing of the minutes before: what is there holds.
  const before = Math.min(replicasMax, memory.replicas ?? presentOf(facts));
  if (memory.replicas === null) remember(memory, before, nowMs);
  remember(memory, Math.max(wanted, Math.min(before, terms.lastingReplicas)), nowMs);
  const held = heldReplicas(memory, terms, rules, nowMs);
  const replicas = stepped(before, Math.max(wanted, held), rules);
  memory.replicas = replicas;
  return { replicas, reason: reasonOf(replicas, wanted, terms, facts, rules), terms };
}

function presentOf({ ready, stored, starting }: ModelFacts): number {
  return ready + stored + starting;
}

function observe(memory: ScalingMemory, facts: ModelFacts, nowMs: number): void {
  const { active, queued, held, ended, turnedAway, routed, late, ready } = facts;
  const present = active + queued + held;
  const known = present + ended + turnedAway;
  // Whoever hung up is in none of the counts any more: that is no request taken back.
  const came = memory.known === null ? 0 : Math.max(0, known - memory.known);
  memory.known = known;
  memory.arrived += came;
  memory.load.add({ atMs: nowMs, arrived: memory.arrived, routed, late });
  if (came > 0 || present > 0) memory.usedMs = nowMs;
  if (ready !== memory.ready) memory.readySinceMs = nowMs;
  memory.ready = ready;
}

function termsOf(
  memory: ScalingMemory,
  facts: ModelFacts,
  rules: ScalingRules,
  nowMs: number,
): DecisionTerms {
  const { serviceMs, slotsPerEdge, startUpMs, idleTtftMs, queued, held } = facts;
  const { ttftTargetMs, replicasMax } = rules;
  const { load } = memory;
  const waitMaxMs = Math.max(ttftTargetMs - idleTtftMs, ttftTargetMs * WAIT_SHARE_MIN);
  const goal = { waitMaxMs, missShareMax: MISS_SHARE_MAX, spansMs: [BURST_MS, STABLE_MS] };
  // What was before fills the slots that the first of them find taken, and leaves no queue behind.
  const arrivals = load.arrivals(STABLE_MS + 2 * serviceMs);
  const edgesFor = (factor: number) => {
    const heavier = { ...goal, serviceMs: serviceMs * HEADROOM * factor };
    return edgesNeeded(arrivals, heavier, slotsPerEdge, replicasMax);
  };
  const growth = Math.min(GROWTH_MAX, load.growth(startUpMs));
  const steady = edgesFor(growth);
  const waiting = queued + held;
  const drainMs = Math.max(DRAIN_MS, startUpMs);
  // A few that wait are what queues are for.
  const backlog =
    waiting > slotsPerEdge ? Math.ceil((waiting * serviceMs) / drainMs / slotsPerEdge) : 0;
  const lateShare = load.lateShare(STABLE_MS, ROUTED_MIN);
  const needed = Math.max(steady + backlog, lateReplicas(memory, facts, lateShare, nowMs));
  const before = memory.replicas ?? presentOf(facts);
  const ratePerS = load.ratePerS(STABLE_MS);
  const idleMs = nowMs - memory.usedMs;
  return {
    ...{ ratePerS, growth, serviceMs, slotsPerEdge, startUpMs, waitMaxMs, idleTtftMs },
    ...{ waiting, lateShare, idleMs, backlog },
    lastingReplicas: steady < before ? edgesFor(growth * DOWN_MARGIN) : steady,
    neededReplicas: awake(needed, memory, facts, rules, idleMs),
  };
}

/** One more than there are, where too many are late though those ordered last have had a minute. */
function lateReplicas(
  { replicas, readySinceMs }: ScalingMemory,
  facts: ModelFacts,
  share: number | null,
  nowMs: number,
): number {
  if (share === null || share <= MISS_SHARE_MAX) return 0;
  const present = presentOf(facts);
  const isOnItsWay = facts.starting > 0 || (replicas ?? 0) > present;
  if (isOnItsWay || nowMs - readySinceMs < STABLE_MS) return Math.max(present, replicas ?? 0);
  return present + 1;
}

/** Whether it may sleep, and whether it must wake. */
function awake(
  needed: number,
  { replicas, load }: ScalingMemory,
  facts: ModelFacts,
  rules: ScalingRules,
  idleMs: number,
): number {
  if (facts.active + facts.queued + facts.held > 0) return Math.max(1, needed);
  const isAsleep = rules.replicasMin === 0 && (replicas ?? presentOf(facts)) === 0;
  if (!isAsleep) return idleMs < rules.idleMs ? Math.max(1, needed) : needed;
  // Nobody waits here: what other regions serve for this one wakes it when it is worth an edge.
  const offered = (load.ratePerS(WINDOW_MS) * facts.serviceMs) / 1000;
  return offered >= WAKE_SHARE * facts.slotsPerEdge ? Math.max(1, needed) : 0;
}

/** Keeps, of what was needed, what may still hold: a queue that only falls. */
function remember({ needs }: ScalingMemory, replicas: number, nowMs: number): void {
  while (needs.length > 0 && needs.at(-1)!.replicas <= replicas) needs.pop();
  needs.push({ atMs: nowMs, replicas });
}

/** The most that any moment needed for as long as it takes to be sure. */
function heldReplicas(
  { needs }: ScalingMemory,
  { startUpMs, idleMs, neededReplicas }: DecisionTerms,
  { stabiliseMs }: ScalingRules,
  nowMs: number,
): number {
  // An edge that takes long to come back is kept for longer.
  const holdMs = Math.max(stabiliseMs, 2 * startUpMs);
  // Whoever has idled for as long needed nothing but to be awake.
  if (neededReplicas === 0 && idleMs >= holdMs) return 0;
  while (needs.length > 1 && needs[0]!.atMs < nowMs - holdMs) needs.shift();
  return needs[0]?.replicas ?? 0;
}

/** A change that a HorizontalPodAutoscaler takes for one, or none. */
function stepped(before: number, wanted: number, { replicasMax }: ScalingRules): number {
  if (wanted > before) {
    return Math.min(replicasMax, Math.max(wanted, Math.floor(before * (1 + TOLERANCE)) + 1));
  }
  const isSmall = wanted > 0 && wanted >= before * (1 - TOLERANCE);
  return isSmall ? before : wanted;
}
