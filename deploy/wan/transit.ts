// When bytes that cross a link set out and when they arrive: one lane each way, which all
// connections share, and for each connection a journey that keeps its order. Pure: the time and the
// chances are given.
import type { Random } from "../../runtime/random.ts";
import type { LinkShape } from "./link-shape.ts";

/** On the clock that gave the time of sending. */
export interface Transit {
  /** The last of the bytes has left the sender's end of the link. */
  readonly departMs: number;
  /** They reach the other end; never before what was sent earlier. */
  readonly arriveMs: number;
}

/** The payload of a TCP segment on Ethernet, with timestamps. */
export const SEGMENT_BYTES = 1448;
/** Segments that must arrive behind a lost one before its sender takes it for lost (RFC 5681). */
const SEGMENTS_BEHIND = 3;
/** Least that Linux waits, beyond a round trip, for what nothing arrived behind. */
const TIMEOUT_MIN_MS = 200;
const TIMEOUT_PER_JITTER = 4;
/** Times that a segment is sent again in vain. */
const RETRIES_MAX = 6;
const BITS_PER_BYTE = 8;
const BITS_PER_MEGABIT_MS = 1000;

/** What a link carries each millisecond; null is without a limit. */
export function bytesPerMs({ mbitPerS }: LinkShape): number | null {
  return mbitPerS === null ? null : (mbitPerS * BITS_PER_MEGABIT_MS) / BITS_PER_BYTE;
}

/** One way of a link: what sets out does so one after another, at the link's rate. */
export class Lane {
  #freeMs = 0;

  /** When the last of the bytes has left. Requires: `nowMs` never goes back. */
  depart(nowMs: number, bytes: number, rate: number | null): number {
    if (rate === null) return nowMs;
    this.#freeMs = Math.max(this.#freeMs, nowMs) + bytes / rate;
    return this.#freeMs;
  }

  /** Forgets what was to leave: it will be sent anew. */
  clear(): void {
    this.#freeMs = 0;
  }
}

/** One way of one connection over a link. */
export class Journey {
  readonly #lane: Lane;
  readonly #random: Random;
  readonly #onStall: () => void;
  #notBeforeMs = 0;
  #sentMs = Number.NEGATIVE_INFINITY;
  #arriveMs = 0;

  /** `onStall` hears of every piece that had to be sent again. */
  constructor(lane: Lane, random: Random, onStall: () => void = () => {}) {
    this.#lane = lane;
    this.#random = random;
    this.#onStall = onStall;
  }

  /** Nothing sets out before then: the connection isn't there yet. */
  notBefore(ms: number): void {
    this.#notBeforeMs = ms;
  }

  /** What was under way is lost and will be given again: its order is that of the giving. */
  restart(): void {
    this.#arriveMs = 0;
  }

  /** Sends bytes over a link of this shape. */
  send(nowMs: number, bytes: number, shape: LinkShape): Transit {
    const gapMs = nowMs - this.#sentMs;
    this.#sentMs = nowMs;
    const leftMs = this.#lane.depart(nowMs, bytes, bytesPerMs(shape));
    const departMs = Math.max(leftMs, this.#notBeforeMs);
    const oneWayMs = (shape.rttMs + shape.jitterMs * this.#random()) / 2;
    const stallMs = this.#stallMs(Math.ceil(bytes / SEGMENT_BYTES), gapMs, shape);
    if (stallMs > 0) this.#onStall();
    this.#arriveMs = Math.max(this.#arriveMs, departMs + oneWayMs + stallMs);
    return { departMs, arriveMs: this.#arriveMs };
  }

  /**
   * How much later the bytes arrive because segments of theirs were lost. A sender learns of a lost
   * segment after a round trip when enough follow it, which in a stream they will at its pace, and
   * otherwise by a timeout; what is lost again waits for a timeout twice as long, each time.
   */
  #stallMs(segments: number, gapMs: number, { rttMs, jitterMs, lossRate }: LinkShape): number {
    if (lossRate === 0 || segments === 0) return 0;
    const survives = (1 - lossRate) ** segments;
    if (this.#random() < survives) return 0;
    const behind = Math.floor(this.#random() * segments);
    const waitMs = behind >= SEGMENTS_BEHIND ? 0 : (SEGMENTS_BEHIND - behind) * gapMs;
    let timeoutMs = rttMs + Math.max(TIMEOUT_MIN_MS, TIMEOUT_PER_JITTER * jitterMs);
    let stallMs = Math.min(rttMs + waitMs, timeoutMs);
    for (let retry = 0; retry < RETRIES_MAX && this.#random() < lossRate; retry += 1) {
      stallMs += timeoutMs;
      timeoutMs *= 2;
    }
    return stallMs;
  }
}
