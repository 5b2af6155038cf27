// Which faults are dealt, in which order and for how long: drawn from a seed, so that a run can be
// dealt again. Every kind gets its turn before any comes twice.
import { permutation, seededRandom } from "../../sync/formats/seeded-random.ts";

export const faultKinds = [
  /** kill -9 of an edge. */
  "edge-kill",
  /** SIGSTOP of an edge, then SIGCONT. */
  "edge-freeze",
  /** A gentle end of an edge: SIGTERM. */
  "edge-stop",
  /** kill -9 of the process that holds an edge's model. */
  "engine-kill",
  /** SIGSTOP of that process. */
  "engine-freeze",
  /** Nothing arrives at or from an edge by gRPC any more; its heartbeats go on. */
  "link-black-hole",
  /** The edge hears its region and callers, they don't hear it. */
  "link-one-way",
  /** Everything to and from an edge takes far longer, by chance more or less. */
  "link-slow",
  /** kill -9 of a region's gateway. */
  "gateway-kill",
  /** kill -9 of everything in one region at once: gateway, edges, nats-servers. */
  "region-loss",
  /** A whole region falls silent: nothing comes out of it any more, and nobody is told. */
  "region-dark",
  /** One region can't reach another, which still reaches it. */
  "partition",
  /** kill -9 of one nats-server. */
  "nats-kill",
  /** Another version of the model is rolled out. */
  "rollout",
  /** An operator drains an edge, then takes that back. */
  "drain",
] as const;

export type FaultKind = (typeof faultKinds)[number];

export interface PlannedFault {
  readonly kind: FaultKind;
  /** Chooses the victim among those in question: in [0, 1). */
  readonly draw: number;
  /** From the blow to its taking back. */
  readonly holdMs: number;
  /** From the mesh being whole again to the next blow. */
  readonly calmMs: number;
}

const HOLD_MIN_MS = 2500;
const HOLD_MAX_MS = 5000;
const CALM_MIN_MS = 300;
const CALM_MAX_MS = 1500;

export function isFaultKind(name: string): name is FaultKind {
  return (faultKinds as readonly string[]).includes(name);
}

/** Faults without end. Requires: at least one kind. */
export function* planFaults(
  seed: number,
  kinds: readonly FaultKind[],
): Generator<PlannedFault, never, undefined> {
  if (kinds.length === 0) throw new Error("no kind of fault to plan");
  const random = seededRandom(seed);
  const between = (min: number, max: number) => min + random.next() * (max - min);
  for (;;) {
    for (const index of permutation(kinds.length, random)) {
      yield {
        kind: kinds[index] as FaultKind,
        draw: random.next(),
        holdMs: between(HOLD_MIN_MS, HOLD_MAX_MS),
        calmMs: between(CALM_MIN_MS, CALM_MAX_MS),
      };
    }
  }
}
