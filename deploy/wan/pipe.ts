// Carries what one socket says to another, each piece at its time and in order, never more than a
// bounded number of bytes under way: beyond that the sender is made to wait.
import type { Socket } from "node:net";
import type { Clock, Timer } from "../../runtime/clock.ts";
import type { Transit } from "./transit.ts";

/** Bytes under way in one direction of one connection: what TCP would have as its window. */
export const UNDERWAY_BYTES_MAX = 8 << 20;
/** Pieces, where they are small. */
const PARCELS_MAX = 8192;
/** Bytes taken for a target that has not been dialled. */
const UNDIALLED_BYTES_MAX = 256 << 10;
/** How far ahead of the lane a connection may queue: what else is sent waits no longer for it. */
const QUEUE_MAX_MS = 20;

/** What becomes of the bytes that go one way. */
export interface Passage {
  /** While it is, nothing arrives, not even an end or a reset, and the sender waits. */
  readonly isHeld: boolean;
  /** Bytes that go in one piece. */
  readonly pieceBytesMax: number;
  /** When bytes that are sent now set out and arrive; called in the order of sending. */
  send(nowMs: number, bytes: number): Transit;
  /** What was under way is lost and will be sent anew, in the same order. */
  restart(): void;
  /** So many bytes have arrived. */
  arrived(bytes: number): void;
}

/** The bytes that pipes hold together, and how many they may. */
export class HeldBytes {
  readonly max: number;
  bytes = 0;

  constructor(max: number) {
    this.max = max;
  }
}

export interface PipeOptions {
  readonly source: Socket;
  readonly passage: Passage;
  readonly clock: Clock;
  readonly held: HeldBytes;
  /** The last of it was delivered, or given up. */
  readonly onDone: () => void;
}

/** What went into a pipe: bytes, or how the sender ended. */
type Parcel = { arriveMs: number } & (
  | { readonly kind: "bytes"; readonly bytes: Buffer }
  | { readonly kind: "end" | "reset" }
);

export class Pipe {
  readonly #options: PipeOptions;
  readonly #parcels: Parcel[] = [];
  #sink: Socket | null = null;
  #bytes = 0;
  #departMs = 0;
  #timer: Timer | null = null;
  #isSinkFull = false;
  #isDone = false;

  constructor(options: PipeOptions) {
    this.#options = options;
    const { source } = options;
    source.on("data", (bytes: Buffer) => this.#takeBytes(bytes));
    source.once("end", () => this.#take({ kind: "end", arriveMs: this.#send(0) }));
    source.once("close", () => this.#take({ kind: "reset", arriveMs: this.#send(0) }));
  }

  /** From now on what arrives is written there. */
  connectTo(sink: Socket): void {
    this.#sink = sink;
    const goOn = () => {
      this.#isSinkFull = false;
      this.#move();
    };
    sink.on("drain", goOn);
    sink.once("close", goOn); // what comes now goes nowhere
    this.#move();
  }

  /** The passage has changed: what was under way sets out anew. */
  follow(): void {
    this.#options.passage.restart();
    this.#departMs = 0;
    for (const parcel of this.#parcels) {
      parcel.arriveMs = this.#send(parcel.kind === "bytes" ? parcel.bytes.byteLength : 0);
    }
    this.#move();
  }

  /** Gives up, and resets both sockets. */
  drop(): void {
    this.#finish();
    this.#options.source.resetAndDestroy();
    this.#sink?.resetAndDestroy();
  }

  #takeBytes(bytes: Buffer): void {
    const size = this.#options.passage.pieceBytesMax;
    for (let at = 0; at < bytes.byteLength; at += size) {
      const piece = bytes.byteLength <= size ? bytes : bytes.subarray(at, at + size);
      this.#take({ kind: "bytes", bytes: piece, arriveMs: this.#send(piece.byteLength) });
    }
  }

  #send(bytes: number): number {
    const { passage, clock } = this.#options;
    if (passage.isHeld) return Number.POSITIVE_INFINITY; // `follow` will tell
    const { departMs, arriveMs } = passage.send(clock.monotonicMs(), bytes);
    this.#departMs = departMs;
    return arriveMs;
  }

  #take(parcel: Parcel): void {
    if (this.#isDone) return;
    if (parcel.kind === "bytes") this.#count(parcel.bytes.byteLength);
    this.#parcels.push(parcel);
    this.#move();
  }

  #move(): void {
    this.#timer?.cancel();
    this.#timer = null;
    const sink = this.#sink;
    const { passage, clock } = this.#options;
    let nowMs = clock.monotonicMs();
    while (!this.#isDone && sink !== null && !passage.isHeld && !this.#isSinkFull) {
      const next = this.#parcels[0];
      if (next === undefined) break;
      if (next.arriveMs > nowMs) {
        nowMs = clock.monotonicMs();
        if (next.arriveMs > nowMs) break;
      }
      this.#parcels.shift();
      this.#deliver(next, sink);
    }
    if (!this.#isDone) this.#pace(nowMs);
  }

  /** Lets the sender go on or wait, and looks again when something is due. */
  #pace(nowMs: number): void {
    const { source, passage, clock } = this.#options;
    const readMs = this.#departMs - QUEUE_MAX_MS;
    const waitsForLane = !passage.isHeld && readMs > nowMs;
    if (waitsForLane || this.#isFull()) source.pause();
    else source.resume();
    const delivers = this.#sink !== null && !this.#isSinkFull && !passage.isHeld;
    const dueMs = (delivers && this.#parcels[0]?.arriveMs) || Number.POSITIVE_INFINITY;
    const wakeMs = waitsForLane ? Math.min(dueMs, readMs) : dueMs;
    if (wakeMs === Number.POSITIVE_INFINITY) return;
    this.#timer = clock.after(Math.max(wakeMs - nowMs, 0), () => this.#move());
  }

  #isFull(): boolean {
    // Of one that hasn't been dialled, we want to hear when it gives up.
    if (this.#sink === null) return this.#bytes >= UNDIALLED_BYTES_MAX;
    const { passage, held } = this.#options;
    if (passage.isHeld || this.#isSinkFull) return true;
    if (this.#parcels.length >= PARCELS_MAX || this.#bytes >= UNDERWAY_BYTES_MAX) return true;
    return this.#bytes > 0 && held.bytes >= held.max;
  }

  #deliver(parcel: Parcel, sink: Socket): void {
    const { source, passage } = this.#options;
    if (parcel.kind === "bytes") {
      this.#count(-parcel.bytes.byteLength);
      passage.arrived(parcel.bytes.byteLength);
      if (!sink.destroyed) this.#isSinkFull = !sink.write(parcel.bytes);
    } else if (parcel.kind === "end") {
      sink.end();
    } else {
      // Whoever closed after an end said all there was; otherwise the peer learns of the break.
      if (!source.readableEnded || source.errored) sink.resetAndDestroy();
      this.#finish();
    }
  }

  #count(bytes: number): void {
    this.#bytes += bytes;
    this.#options.held.bytes += bytes;
  }

  #finish(): void {
    if (this.#isDone) return;
    this.#isDone = true;
    this.#timer?.cancel();
    this.#parcels.length = 0;
    this.#count(-this.#bytes);
    this.#options.onDone();
  }
}
