// The way between two processes: latency with jitter, losses that cost a retransmission, and cuts
// of one direction or both. Like TCP it keeps order, and holds what was sent into a cut until the
// connection is given up.
import type { Random } from "../../../runtime/random.ts";
import type { EventQueue } from "../kernel/event-queue.ts";

/** A lost packet is sent again after so long. */
const RETRANSMIT_MS = 200;

export const Direction = { forth: 0, back: 1 } as const;
export type Direction = (typeof Direction)[keyof typeof Direction];

export interface PathQuality {
  readonly latencyMs: number;
  /** Added to the latency of each message: uniform up to this. */
  readonly jitterMs: number;
  /** Share of messages whose first sending is lost. */
  readonly lossShare: number;
}

export class SimPath {
  readonly quality: PathQuality;
  readonly #queue: EventQueue;
  readonly #random: Random;
  /** How many faults cut each direction now. */
  readonly #cuts: [number, number] = [0, 0];
  readonly #lastMs: [number, number] = [0, 0];
  readonly #held: [(() => void)[], (() => void)[]] = [[], []];

  /** Told when a direction is cut or open again. */
  onChange: () => void = () => {};

  constructor(queue: EventQueue, quality: PathQuality, random: Random) {
    this.#queue = queue;
    this.quality = quality;
    this.#random = random;
  }

  isOpen(direction: Direction): boolean {
    return this.#cuts[direction] === 0;
  }

  get isWhole(): boolean {
    return this.#cuts[0] === 0 && this.#cuts[1] === 0;
  }

  /** Delivers in the order of sending. */
  send(direction: Direction, deliver: () => void): void {
    if (this.#cuts[direction] > 0) {
      this.#held[direction].push(deliver);
      return;
    }
    const { latencyMs, jitterMs, lossShare } = this.quality;
    let delayMs = latencyMs + jitterMs * this.#random();
    if (lossShare > 0 && this.#random() < lossShare) delayMs += RETRANSMIT_MS;
    const atMs = Math.max(this.#queue.nowMs + delayMs, this.#lastMs[direction]);
    this.#lastMs[direction] = atMs;
    this.#queue.after(atMs - this.#queue.nowMs, deliver);
  }

  cut(direction: Direction): void {
    this.#cuts[direction] += 1;
    this.onChange();
  }

  heal(direction: Direction): void {
    this.#cuts[direction] -= 1;
    this.onChange();
    if (this.#cuts[direction] > 0) return;
    const held = this.#held[direction];
    this.#held[direction] = [];
    for (const deliver of held) this.send(direction, deliver);
  }

  /** The connection is given up: what is held never arrives. */
  dropHeld(): void {
    this.#held[0] = [];
    this.#held[1] = [];
  }
}
