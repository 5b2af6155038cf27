// One run of a traffic under one controller, and what it comes to: misses, pod hours, changes.
import { rulesFor, scalingSchema } from "../../../region/scaling/scaling-rules.ts";
import { EventQueue } from "../kernel/event-queue.ts";
import { RandomStreams } from "../kernel/random-streams.ts";
import { percentile } from "../report/metrics.ts";
import { type EngineProfile, profiles } from "../world/engine-profile.ts";
import type { Controller } from "./controllers.ts";
import { PodFleet } from "./pod-fleet.ts";
import { drawTraffic, type Traffic } from "./traffic.ts";

export interface ScalingRun {
  readonly controller: string;
  readonly traffic: string;
  readonly seed: number;
  readonly requests: number;
  readonly served: number;
  readonly refused: number;
  readonly held: number;
  readonly missShare: number;
  readonly ttftP50Ms: number;
  readonly ttftP99Ms: number;
  readonly podHours: number;
  readonly cost: number;
  readonly most: number;
  /** Times that the number of pods turned from growing to shrinking or back. */
  readonly turns: number;
  /** Pods ordered or ready, minute by minute. */
  readonly replicas: readonly number[];
}

export const TTFT_TARGET_MS = 2000;
const HOUR_MS = 3_600_000;
const SAMPLE_MS = 60_000;
/** Days pass, with a few events a second. */
const BUCKET_MS = 20;
/** After the last request everything ends within so long. */
const DRAIN_MS = 600_000;

export function runScaling(
  traffic: Traffic,
  controller: Controller,
  seed: number,
  profile: EngineProfile = profiles.medium,
): ScalingRun {
  const queue = new EventQueue(BUCKET_MS);
  const streams = new RandomStreams(seed);
  const requests = drawTraffic(traffic, streams);
  const { replicasMin, replicasMax, idleMinutes, startUpMs } = traffic;
  const everyModel = { ttftTargetMs: TTFT_TARGET_MS, replicasMin, replicasMax, idleMinutes };
  const config = scalingSchema.parse({ everyModel });
  const fleet = new PodFleet({
    ...{ queue, profile, startUpMs, hold: config.hold, ttftTargetMs: TTFT_TARGET_MS },
    random: streams.of("start-ups"),
  });
  fleet.scaleTo(replicasMin);
  controller.start(fleet, queue, rulesFor(config, "m"));
  let next = 0;
  const ask = () => {
    fleet.ask(requests[next]!);
    next += 1;
    const following = requests[next];
    if (following !== undefined) queue.after(following.atMs - queue.nowMs, ask);
  };
  if (requests[0] !== undefined) queue.after(requests[0].atMs, ask);
  const endMs = traffic.hours * HOUR_MS;
  const replicas: number[] = [];
  for (let atMs = SAMPLE_MS; atMs <= endMs; atMs += SAMPLE_MS) {
    queue.runUntil(atMs);
    replicas.push(fleet.present.length);
  }
  const podHours = fleet.podMs / HOUR_MS;
  queue.runUntil(endMs + DRAIN_MS);
  const ttftsMs = fleet.ttftsMs.toSorted((a, b) => a - b);
  const { counts } = fleet;
  return {
    ...{ controller: controller.name, traffic: traffic.name, seed },
    ...{ requests: counts.requests, served: counts.served, refused: counts.refused },
    held: counts.held,
    missShare: counts.requests === 0 ? 0 : counts.missed / counts.requests,
    ttftP50Ms: percentile(ttftsMs, 0.5),
    ttftP99Ms: percentile(ttftsMs, 0.99),
    podHours,
    cost: podHours * profile.costPerHour,
    most: Math.max(0, ...replicas),
    turns: turnsOf(replicas),
    replicas,
  };
}

export function turnsOf(replicas: readonly number[]): number {
  let turns = 0;
  let direction = 0;
  for (let at = 1; at < replicas.length; at += 1) {
    const change = Math.sign(replicas[at]! - replicas[at - 1]!);
    if (change === 0) continue;
    if (direction !== 0 && change !== direction) turns += 1;
    direction = change;
  }
  return turns;
}
