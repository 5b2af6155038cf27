// Brings the planned faults over a simulated mesh, and takes each away again when its time is over.
import type { EventQueue } from "../kernel/event-queue.ts";
import type { TraceHash } from "../kernel/trace-hash.ts";
import type { SimEdge } from "../world/sim-edge.ts";
import type { SimMesh } from "../world/sim-mesh.ts";
import { Direction } from "../world/sim-path.ts";
import type { FaultKind, PlannedFault } from "./fault-plan.ts";

/** Clocks jump by up to so much either way. */
const SKEW_MAX_MS = 600_000;
const SLOWEST = 0.05;
const BOOT_MS = 500;
const BEATS_LATE_MS = 3000;

/** Begins a fault and returns what ends it. */
type Strike = (mesh: SimMesh, fault: PlannedFault) => () => void;

export function driveFaults(
  mesh: SimMesh,
  faults: readonly PlannedFault[],
  queue: EventQueue,
  trace: TraceHash,
): void {
  for (const fault of faults) {
    queue.after(fault.atMs - queue.nowMs, () => {
      trace.text(fault.kind).number(fault.target).number(queue.nowMs);
      queue.hasPromises = true;
      const end = strikes[fault.kind](mesh, fault);
      queue.after(fault.forMs, () => {
        queue.hasPromises = true;
        end();
      });
    });
  }
}

const strikes: Record<FaultKind, Strike> = {
  kill: (mesh, { target }) => {
    killEdge(mesh, target);
    return () => mesh.edges[target]!.restart(BOOT_MS);
  },
  freeze: (mesh, { target }) => {
    const { process } = mesh.edges[target]!;
    process.freeze();
    mesh.checkEdge(target);
    return () => process.thaw();
  },
  "engine-crash": (mesh, { target }) => {
    mesh.edges[target]!.crashEngine();
    return () => {};
  },
  "black-hole": (mesh, { target }) => cutEdge(mesh, target, [Direction.forth, Direction.back]),
  "one-way": (mesh, { target, degree }) =>
    cutEdge(mesh, target, [degree < 0.5 ? Direction.forth : Direction.back]),
  slow: (mesh, { target, degree }) => {
    const { engine } = mesh.edges[target]!;
    engine.speed = SLOWEST + degree / 2;
    return () => {
      engine.speed = 1;
    };
  },
  drain: (mesh, { target }) => {
    const edge = mesh.edges[target]!;
    setDraining(edge, true);
    return () => setDraining(edge, false);
  },
  clock: (mesh, { target, degree }) => skew(mesh.edges[target]!.process, degree),
  "gateway-clock": (mesh, { target, degree }) => skew(mesh.regions[target]!.process, degree),
  "beats-lost": (mesh, { target, degree }) => {
    mesh.beats.trouble(target, { lostShare: 0.2 + degree * 0.8, delayMaxMs: 0 });
    return () => mesh.beats.trouble(target, null);
  },
  "beats-late": (mesh, { target, degree }) => {
    mesh.beats.trouble(target, { lostShare: 0, delayMaxMs: degree * BEATS_LATE_MS });
    return () => mesh.beats.trouble(target, null);
  },
  "gateway-kill": (mesh, { target }) => {
    killGateway(mesh, target);
    return () => mesh.regions[target]!.restart();
  },
  "gateway-freeze": (mesh, { target }) => {
    const { process } = mesh.regions[target]!;
    process.freeze();
    mesh.checkRegion(target);
    return () => process.thaw();
  },
  "region-loss": (mesh, { target }) => {
    killGateway(mesh, target);
    const lost = [...mesh.regionOf.entries()].filter(([, region]) => region === target);
    for (const [edge] of lost) killEdge(mesh, edge);
    return () => {
      mesh.regions[target]!.restart();
      for (const [edge] of lost) mesh.edges[edge]!.restart(BOOT_MS);
    };
  },
  partition: (mesh, fault) => part(mesh, fault, true),
  "partition-one-way": (mesh, fault) => part(mesh, fault, false),
};

function killEdge(mesh: SimMesh, edge: number): void {
  mesh.edges[edge]!.kill();
  mesh.checkEdge(edge);
}

function killGateway(mesh: SimMesh, region: number): void {
  mesh.regions[region]!.kill();
  mesh.checkRegion(region);
}

function cutEdge(mesh: SimMesh, edge: number, directions: readonly Direction[]): () => void {
  const path = mesh.edgePath(edge);
  for (const direction of directions) path.cut(direction);
  mesh.checkEdge(edge);
  return () => {
    for (const direction of directions) path.heal(direction);
  };
}

function setDraining(edge: SimEdge, isDraining: boolean): void {
  edge.isDraining = isDraining;
  edge.heart.changed();
}

function skew(process: { skewMs: number }, degree: number): () => void {
  process.skewMs = (2 * degree - 1) * SKEW_MAX_MS;
  return () => {
    process.skewMs = 0;
  };
}

function part(mesh: SimMesh, { side, target }: PlannedFault, bothWays: boolean): () => void {
  const cuts: (() => void)[] = [];
  for (const left of side) {
    for (const [right] of mesh.regions.entries()) {
      if (side.includes(right)) continue;
      for (const { path, direction } of mesh.pathsBetween(left, right)) {
        const other = direction === Direction.forth ? Direction.back : Direction.forth;
        for (const each of bothWays ? [direction, other] : [direction]) {
          path.cut(each);
          cuts.push(() => path.heal(each));
        }
      }
    }
  }
  mesh.checkRegion(target);
  return () => {
    for (const heal of cuts) heal();
  };
}
