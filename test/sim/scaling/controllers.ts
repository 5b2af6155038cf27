// Who decides how many pods there are: ours, as KEDA and the HorizontalPodAutoscaler carry it out,
// and a HorizontalPodAutoscaler on CPU alone.
//
// Source of the algorithm and its constants: kubernetes.io, "Horizontal Pod Autoscaling": ceil of
// replicas times ratio; nothing within a tolerance of 0.1; every 15 s; up at once, by 4 pods or
// 100 % in 15 s; down to the highest recommendation of 5 minutes; pods that don't serve yet count
// as idle when it would scale up and aren't counted when it would scale down. KEDA's own loop takes
// a target from none to one (pollingInterval).
import { decideReplicas, ScalingMemory } from "../../../region/scaling/scaling-decision.ts";
import type { ScalingRules } from "../../../region/scaling/scaling-rules.ts";
import type { EventQueue } from "../kernel/event-queue.ts";
import type { PodFleet } from "./pod-fleet.ts";
import type { SimPod } from "./sim-pod.ts";

export interface Controller {
  readonly name: string;
  start(fleet: PodFleet, queue: EventQueue, rules: ScalingRules): void;
}

const SYNC_MS = 15_000;
const TOLERANCE = 0.1;
const STABILISE_MS = 300_000;
const UP_PODS = 4;
/** What the ScaledObject asks for (deploy/kubernetes). */
const POLL_MS = 2000;
const DECIDE_MS = 2000;

/** `isHeeded` false: the decision goes its way and nothing follows it. */
export function ours(onDecision: (replicas: number) => void = () => {}): Controller {
  return {
    name: "isthmus",
    start(fleet, queue, rules) {
      const memory = new ScalingMemory(queue.nowMs);
      let told = fleet.present.length;
      every(queue, DECIDE_MS, () => {
        told = decideReplicas(memory, fleet.facts(), rules, queue.nowMs).replicas;
        onDecision(told);
      });
      every(queue, POLL_MS, () => {
        if (fleet.present.length === 0 && told > 0) fleet.scaleTo(1);
        if (fleet.present.length > 0 && told === 0) fleet.scaleTo(0);
      });
      every(queue, SYNC_MS, () => {
        const present = fleet.present.length;
        if (present === 0 || told === 0) return;
        // Type AverageValue with target 1: the ratio is the number told to the number there.
        if (Math.abs(told / present - 1) <= TOLERANCE) return;
        fleet.scaleTo(Math.min(told, present + Math.max(UP_PODS, present)));
      });
    },
  };
}

export interface CpuOptions {
  /** The utilisation that it aims at, 0 to 1. */
  readonly target: number;
  /** What it takes for CPU: the slots in use, or that any is (an engine's threads spin). */
  readonly reads: "slots" | "busy";
}

export function cpuAutoscaler({ target, reads }: CpuOptions): Controller {
  return {
    name: `hpa-cpu-${reads}-${Math.round(target * 100)}`,
    start(fleet, queue, { replicasMin, replicasMax }) {
      const least = Math.max(1, replicasMin); // it can't go to none
      const meters = new Map<SimPod, number>();
      const told: { atMs: number; replicas: number }[] = [];
      every(queue, SYNC_MS, () => {
        const present = fleet.present.length;
        if (present === 0) return fleet.scaleTo(least);
        const wanted = clamp(
          wantedBy(used(fleet, meters, reads), present, target),
          least,
          replicasMax,
        );
        told.push({ atMs: queue.nowMs, replicas: wanted });
        while (told[0]!.atMs < queue.nowMs - STABILISE_MS) told.shift();
        const held = Math.max(...told.map(({ replicas }) => replicas));
        const down = Math.min(present, held);
        fleet.scaleTo(
          wanted > present ? Math.min(wanted, present + Math.max(UP_PODS, present)) : down,
        );
      });
    },
  };
}

/** Each ready pod's utilisation since the last look. */
function used(fleet: PodFleet, meters: Map<SimPod, number>, reads: CpuOptions["reads"]): number[] {
  const shares: number[] = [];
  for (const pod of fleet.present) {
    if (pod.state !== "ready") continue;
    pod.settle();
    const reading = reads === "slots" ? pod.slotMs / pod.profile.slots : pod.busyMs;
    shares.push((reading - (meters.get(pod) ?? 0)) / SYNC_MS);
    meters.set(pod, reading);
  }
  return shares;
}

function wantedBy(shares: readonly number[], present: number, target: number): number {
  const sum = shares.reduce((total, share) => total + share, 0);
  if (shares.length === 0) return present;
  const ratio = sum / shares.length / target;
  if (Math.abs(ratio - 1) <= TOLERANCE) return present;
  if (ratio < 1) return Math.ceil(ratio * shares.length);
  // Those that don't serve yet count as idle; if that turns it round, nothing happens.
  const careful = sum / present / target;
  return careful <= 1 + TOLERANCE ? present : Math.ceil(careful * present);
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(most, Math.max(least, value));
}

function every(queue: EventQueue, ms: number, act: () => void): void {
  const turn = () => {
    act();
    queue.after(ms, turn);
  };
  queue.after(ms, turn);
}
