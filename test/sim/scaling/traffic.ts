// The traffic that scaling is rehearsed on: requests with their times and lengths, drawn ahead so
// that every controller gets the same ones.
import type { Random } from "../../../runtime/random.ts";
import { exponential, logNormal, type RandomStreams } from "../kernel/random-streams.ts";
import { Bursts } from "../workload/bursts.ts";

export interface TrafficRequest {
  readonly atMs: number;
  readonly promptTokens: number;
  readonly outputTokens: number;
}

export interface Traffic {
  readonly name: string;
  readonly what: string;
  readonly hours: number;
  /** Requests a second at a time of the run. */
  readonly rateAt: (atMs: number, endMs: number) => number;
  readonly rateMax: number;
  /** The busy rate of a burst against the mean one; 1 for none. */
  readonly burst: number;
  /** From the order for an edge until it serves. */
  readonly startUpMs: { readonly min: number; readonly max: number };
  readonly replicasMin: number;
  readonly replicasMax: number;
  readonly idleMinutes: number;
}

const HOUR_MS = 3_600_000;
const slow = { startUpMs: { min: 30_000, max: 60_000 }, replicasMax: 24, idleMinutes: 30 } as const;

function flashAt(atMs: number, endMs: number): number {
  const beganMs = endMs / 3;
  if (atMs < beganMs) return 0.4;
  // Up within half a minute, then half of it gone every quarter of an hour.
  const risen = Math.min(1, (atMs - beganMs) / 30_000);
  return 0.4 + 5.6 * risen * 0.5 ** ((atMs - beganMs) / (HOUR_MS / 4));
}

export const traffics: readonly Traffic[] = [
  {
    ...{ name: "day", what: "a day with its night, and bursts", hours: 24, ...slow },
    rateAt: (atMs, endMs) => 3 * (1 - 0.85 * Math.cos((2 * Math.PI * atMs) / endMs)),
    ...{ rateMax: 5.6, burst: 2.5, replicasMin: 1 },
  },
  {
    ...{ name: "flash-crowd", what: "fifteen times the usual within 30 s", hours: 3, ...slow },
    ...{ rateAt: flashAt, rateMax: 6, burst: 1, replicasMin: 1 },
  },
  {
    ...{ name: "cold-model", what: "a model asked for now and then; it may sleep", hours: 24 },
    ...{ rateAt: () => 8 / 86_400, rateMax: 8 / 86_400, burst: 1, replicasMin: 0 },
    ...{ startUpMs: { min: 8000, max: 14_000 }, replicasMax: 4, idleMinutes: 15 },
  },
];

export function drawTraffic(traffic: Traffic, streams: RandomStreams): readonly TrafficRequest[] {
  const { hours, rateAt, rateMax, burst } = traffic;
  const endMs = hours * HOUR_MS;
  const random = streams.of("traffic");
  const bursts = new Bursts(burst, 0, endMs, streams.of("bursts"));
  const mostPerMs = (rateMax * bursts.most) / 1000;
  const requests: TrafficRequest[] = [];
  for (let atMs = 0; ; ) {
    atMs += exponential(random, 1 / mostPerMs);
    if (atMs >= endMs) return requests;
    const perMs = (rateAt(atMs, endMs) * bursts.at(atMs)) / 1000;
    if (random() < perMs / mostPerMs) requests.push({ atMs, ...lengthsOf(random) });
  }
}

function lengthsOf(random: Random): { promptTokens: number; outputTokens: number } {
  const draw = (median: number, most: number) =>
    Math.max(4, Math.min(most, Math.round(logNormal(random, median, 0.8))));
  return { promptTokens: draw(120, 1500), outputTokens: draw(80, 600) };
}
