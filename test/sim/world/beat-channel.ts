// Heartbeats on their way. In a region without trouble a beat is where it belongs at once: the
// millisecond that it takes is nothing beside the time between two. Under a fault each takes its
// own time, so that they overtake each other, and some are lost.
import type { Heartbeat } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { Random } from "../../../runtime/random.ts";
import type { EventQueue } from "../kernel/event-queue.ts";
import type { SimMesh } from "./sim-mesh.ts";
import { Direction } from "./sim-path.ts";

const DELAY_MS = 1;

/** What a fault does to the heartbeats of one region. */
export interface BeatTrouble {
  readonly lostShare: number;
  /** Added, uniform up to this. */
  readonly delayMaxMs: number;
}

export class BeatChannel {
  sent = 0;
  lost = 0;
  readonly #queue: EventQueue;
  readonly #random: Random;
  readonly #mesh: Pick<SimMesh, "bank" | "regions" | "regionOf" | "edgePath">;
  readonly #troubles = new Map<number, BeatTrouble>();
  readonly #arrivalKind: number;
  #troubled = 0;

  constructor(
    queue: EventQueue,
    random: Random,
    mesh: Pick<SimMesh, "bank" | "regions" | "regionOf" | "edgePath">,
  ) {
    this.#queue = queue;
    this.#random = random;
    this.#mesh = mesh;
    this.#arrivalKind = queue.register((edge, beat) => this.#arrive(edge, beat as Heartbeat));
  }

  publish(edge: number, beat: Heartbeat): void {
    this.sent += 1;
    const region = this.#mesh.regionOf[edge]!;
    const trouble = this.#troubled === 0 ? undefined : this.#troubles.get(region);
    const isCut =
      this.#mesh.bank.odd[edge] !== 0 && !this.#mesh.edgePath(edge).isOpen(Direction.back);
    if (trouble === undefined && !isCut) {
      this.#arrive(edge, beat);
      return;
    }
    if (isCut || trouble === undefined || this.#random() < trouble.lostShare) {
      this.lost += 1;
      this.#mesh.bank.discard(edge, beat);
      return;
    }
    const delayMs = DELAY_MS + this.#random() * trouble.delayMaxMs;
    this.#queue.push(this.#queue.nowMs + delayMs, this.#arrivalKind, edge, beat);
  }

  /** Null ends it. */
  trouble(region: number, trouble: BeatTrouble | null): void {
    if (trouble === null) this.#troubles.delete(region);
    else this.#troubles.set(region, trouble);
    this.#troubled = this.#troubles.size;
  }

  #arrive(edge: number, beat: Heartbeat): void {
    const region = this.#mesh.regions[this.#mesh.regionOf[edge]!]!;
    const { process } = region;
    if (process.isRunning) region.takeBeat(edge, beat);
    else if (process.state === "frozen") process.run(() => region.takeBeat(edge, beat));
    else this.#mesh.bank.discard(edge, beat);
  }
}
