// Which faults strike a simulated mesh, when and for how long: drawn by the seed, and all of them
// healed before the end.
import type { Random } from "../../../runtime/random.ts";
import { exponential } from "../kernel/random-streams.ts";

export const faultKinds = [
  "kill",
  "freeze",
  "engine-crash",
  "black-hole",
  "one-way",
  "slow",
  "drain",
  "clock",
  "beats-lost",
  "beats-late",
  "gateway-kill",
  "gateway-freeze",
  "gateway-clock",
  "region-loss",
  "partition",
  "partition-one-way",
] as const;

export type FaultKind = (typeof faultKinds)[number];

export interface PlannedFault {
  readonly kind: FaultKind;
  readonly atMs: number;
  readonly forMs: number;
  /** An edge, or a region, by what the kind strikes. */
  readonly target: number;
  /** Of a partition: the regions on the target's side. */
  readonly side: readonly number[];
  /** How bad, 0 to 1. */
  readonly degree: number;
}

/** How often each comes among the faults of its sort, and how long it lasts: from, to. */
const edgeFaults: readonly [FaultKind, number, number, number][] = [
  ["kill", 3, 1000, 15_000],
  ["freeze", 3, 300, 8000],
  ["engine-crash", 2, 0, 0],
  ["black-hole", 3, 200, 8000],
  ["one-way", 3, 200, 8000],
  ["slow", 3, 3000, 25_000],
  ["drain", 1, 3000, 15_000],
  ["clock", 2, 5000, 30_000],
];
const regionFaults: readonly [FaultKind, number, number, number][] = [
  ["beats-lost", 3, 2000, 10_000],
  ["beats-late", 3, 3000, 15_000],
  ["gateway-kill", 2, 500, 5000],
  ["gateway-freeze", 1, 300, 4000],
  ["gateway-clock", 1, 5000, 30_000],
  ["region-loss", 1, 5000, 20_000],
  ["partition", 2, 1000, 15_000],
  ["partition-one-way", 2, 1000, 15_000],
];

export interface FaultPlanOptions {
  readonly edges: number;
  readonly regions: number;
  /** Faults begin and end within these. */
  readonly fromMs: number;
  readonly untilMs: number;
  readonly edgeFaultEveryMs: number;
  readonly regionFaultEveryMs: number;
  readonly only?: readonly FaultKind[] | undefined;
}

export function drawFaults(options: FaultPlanOptions, random: Random): PlannedFault[] {
  const { edges, regions, edgeFaultEveryMs, regionFaultEveryMs } = options;
  return [
    ...drawSort(edgeFaults, edges, edgeFaultEveryMs, options, random),
    ...drawSort(regionFaults, regions, regionFaultEveryMs, options, random),
  ].sort((a, b) => a.atMs - b.atMs);
}

function drawSort(
  sort: readonly [FaultKind, number, number, number][],
  targets: number,
  everyMs: number,
  { fromMs, untilMs, regions, only }: FaultPlanOptions,
  random: Random,
): PlannedFault[] {
  const kinds = sort.filter(([kind]) => only === undefined || only.includes(kind));
  const sum = kinds.reduce((total, [, weight]) => total + weight, 0);
  const drawn: PlannedFault[] = [];
  if (kinds.length === 0) return drawn;
  for (let atMs = fromMs + exponential(random, everyMs); atMs < untilMs; ) {
    const [kind, least, most] = kindAt(kinds, random() * sum);
    const forMs = Math.min(least + random() * (most - least), untilMs - atMs);
    const target = Math.floor(random() * targets);
    const side = sideOf(regions, target, random);
    drawn.push({ kind, atMs, forMs, target, side, degree: random() });
    atMs += exponential(random, everyMs);
  }
  return drawn;
}

/** The one in whose share of the weights the lot falls. */
function kindAt(
  kinds: readonly [FaultKind, number, number, number][],
  lot: number,
): [FaultKind, number, number] {
  let left = lot;
  for (const [kind, weight, least, most] of kinds) {
    if (left < weight) return [kind, least, most];
    left -= weight;
  }
  const [kind, , least, most] = kinds[0]!;
  return [kind, least, most];
}

function sideOf(regions: number, target: number, random: Random): number[] {
  const side: number[] = [];
  for (let region = 0; region < regions; region += 1) {
    if (region === target || random() < 0.3) side.push(region);
  }
  return side;
}
