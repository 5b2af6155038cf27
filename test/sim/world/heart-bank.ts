// The hearts of all simulated edges, column by column. Twelve million heartbeats a run are mostly
// waits for memory: one of an edge that has nothing new to tell touches a few numbers, its beat,
// and nothing else of the edge.
import {
  HEARTBEAT_GAP_MS,
  HEARTBEAT_PERIOD_MS,
} from "../../../edge-node/heartbeat/heartbeat-pace.ts";
import type { Heartbeat } from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { EventQueue } from "../kernel/event-queue.ts";
import type { SimHeart } from "./sim-heart.ts";

/** Beats that must be written anew after a change: every one that may be in use. */
const STALE_BEATS = 3;

export class HeartBank {
  readonly hearts: SimHeart[] = [];
  /** When each beats next; Infinity for one that doesn't. */
  readonly nextMs: Float64Array;
  /** When each beat last. */
  readonly sentMs: Float64Array;
  /** Where in the period each has its regular beats. */
  readonly phaseMs: Float64Array;
  readonly sequence: Float64Array;
  /** Not zero: it is not running, or its way to the region is cut. */
  readonly odd: Uint8Array;
  /** How many of its next beats must be written anew. */
  readonly stale: Uint8Array;
  /** Counts changes of what routing reads; a plain beat tells the same as the one before. */
  readonly revision: Uint32Array;
  /** When each has to tell its prefixes again, changed or not; Infinity without any. */
  readonly tellMs: Float64Array;
  /** A beat that nobody looks at, and the one that its region holds. */
  readonly free: (Heartbeat | null)[];
  readonly held: (Heartbeat | null)[];
  readonly #queue: EventQueue;
  readonly #kind: number;
  readonly #publish: (edge: number, beat: Heartbeat) => void;

  constructor(queue: EventQueue, edges: number, publish: (edge: number, beat: Heartbeat) => void) {
    this.#queue = queue;
    this.#publish = publish;
    this.#kind = queue.register((edge) => this.#due(edge));
    this.nextMs = new Float64Array(edges).fill(Infinity);
    this.sentMs = new Float64Array(edges).fill(-Infinity);
    this.phaseMs = new Float64Array(edges);
    this.sequence = new Float64Array(edges);
    this.odd = new Uint8Array(edges);
    this.stale = new Uint8Array(edges);
    this.revision = new Uint32Array(edges);
    this.tellMs = new Float64Array(edges).fill(Infinity);
    this.free = Array.from({ length: edges }, () => null);
    this.held = Array.from({ length: edges }, () => null);
  }

  schedule(edge: number, atMs: number): void {
    const nextMs = Math.max(atMs, this.#queue.nowMs);
    this.nextMs[edge] = nextMs;
    this.#queue.push(nextMs, this.#kind, edge);
  }

  /**
   * When the next regular beat comes after one now: a period later, or in the edge's own place in
   * the period if that is sooner. A hurried beat would otherwise move the edge away from those that
   * lie beside it in memory, for good.
   */
  regularMs(edge: number): number {
    const { nowMs } = this.#queue;
    const phaseMs = this.phaseMs[edge]!;
    const periods = Math.ceil((nowMs + HEARTBEAT_GAP_MS - phaseMs) / HEARTBEAT_PERIOD_MS);
    return Math.min(nowMs + HEARTBEAT_PERIOD_MS, phaseMs + periods * HEARTBEAT_PERIOD_MS);
  }

  /** What the beats tell has changed. */
  changed(edge: number): void {
    this.stale[edge] = STALE_BEATS;
    this.revision[edge]! += 1;
  }

  /** Nobody looks at this beat any more. */
  release(edge: number, beat: Heartbeat): void {
    if (this.free[edge] === null) this.free[edge] = beat;
  }

  /** As `release`, of one that never was what its region held: others may have been since. */
  discard(edge: number, beat: Heartbeat): void {
    this.release(edge, beat);
    this.stale[edge] = STALE_BEATS;
  }

  /** The region has accepted it, and lets go of the one before. */
  hold(edge: number, beat: Heartbeat): void {
    const before = this.held[edge]!;
    this.held[edge] = beat;
    if (before !== null) this.release(edge, before);
  }

  /** Most events are the one that is waited for; the others came too late for a change. */
  #due(edge: number): void {
    const { nowMs } = this.#queue;
    if (nowMs !== this.nextMs[edge]) return;
    const beat = this.free[edge]!;
    const isPlain = this.odd[edge] === 0 && this.stale[edge] === 0 && nowMs < this.tellMs[edge]!;
    if (beat === null || !isPlain) {
      this.hearts[edge]!.due();
      return;
    }
    this.free[edge] = null;
    const sequence = this.sequence[edge]! + 1;
    this.sequence[edge] = sequence;
    beat.sequence = BigInt(sequence);
    this.sentMs[edge] = nowMs;
    this.schedule(edge, this.regularMs(edge));
    this.#publish(edge, beat);
  }
}
