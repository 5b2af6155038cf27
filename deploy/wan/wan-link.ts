// A link between two sites: its shape, whether it is cut, and the connections that go over it.
import type { Socket } from "node:net";
import type { Clock } from "../../runtime/clock.ts";
import type { Random } from "../../runtime/random.ts";
import { changedShape, type LinkShape, type ShapeChange } from "./link-shape.ts";
import type { HeldBytes, Passage } from "./pipe.ts";
import { RelayedConnection } from "./relayed-connection.ts";
import { bytesPerMs, Journey, Lane, SEGMENT_BYTES } from "./transit.ts";

export interface LinkChange extends ShapeChange {
  readonly cut?: boolean | undefined;
}

/** What the control API shows of a link. */
export interface LinkView extends LinkShape {
  readonly between: readonly [string, string];
  readonly cut: boolean;
  /** Open now. */
  readonly connections: number;
  /** Delivered, both ways. */
  readonly bytes: number;
  /** Pieces that had to be sent again. */
  readonly stalls: number;
}

export interface LinkParts {
  readonly clock: Clock;
  readonly random: Random;
  /** What all links together hold back. */
  readonly held: HeldBytes;
}

/** Round trips until the target has heard of a connection; until its caller may send. */
const ACCEPTED_RTTS = 1.5;
const CONNECTED_RTTS = 1;
/** Pieces are cut to what the link carries in this time, so that connections take turns. */
const PIECE_MS = 5;
const PIECE_BYTES_MAX = 64 << 10;

export class WanLink {
  readonly between: readonly [string, string];
  readonly #parts: LinkParts;
  readonly #lanes: readonly [Lane, Lane] = [new Lane(), new Lane()];
  readonly #connections = new Set<RelayedConnection>();
  #shape: LinkShape;
  #isCut = false;
  #bytes = 0;
  #stalls = 0;

  constructor(between: readonly [string, string], shape: LinkShape, parts: LinkParts) {
    this.between = between;
    this.#shape = shape;
    this.#parts = parts;
  }

  get view(): LinkView {
    return {
      between: this.between,
      ...this.#shape,
      cut: this.#isCut,
      connections: this.#connections.size,
      bytes: this.#bytes,
      stalls: this.#stalls,
    };
  }

  /** Changes the link under its connections; what was under way sets out anew. */
  change({ cut, ...shape }: LinkChange): void {
    this.#shape = changedShape(this.#shape, shape);
    this.#isCut = cut ?? this.#isCut;
    for (const lane of this.#lanes) lane.clear();
    for (const connection of [...this.#connections]) connection.follow();
  }

  /** Carries a connection of somebody at the site `from`, one of the two, to host:port. */
  carry(near: Socket, from: string, target: string, onClose: () => void): void {
    const { clock, held } = this.#parts;
    const there = this.between.indexOf(from) === 0 ? 0 : 1;
    const journeys = [this.#journey(there), this.#journey(1 - there)] as const;
    const [forward, backward] = journeys.map((journey) => this.#passage(journey));
    if (forward === undefined || backward === undefined) throw new TypeError("two ways");
    const setOut = (nowMs: number) => {
      for (const journey of journeys) journey.notBefore(nowMs + CONNECTED_RTTS * this.#shape.rttMs);
      return ACCEPTED_RTTS * this.#shape.rttMs;
    };
    const connection = new RelayedConnection({
      near,
      target,
      passages: { forward, backward, setOut },
      clock,
      held,
      onClose: () => {
        this.#connections.delete(connection);
        onClose();
      },
    });
    this.#connections.add(connection);
    connection.follow();
  }

  close(): void {
    for (const connection of [...this.#connections]) connection.reset();
  }

  #journey(lane: number): Journey {
    const onStall = () => {
      this.#stalls += 1;
    };
    return new Journey(this.#lanes[lane] as Lane, this.#parts.random, onStall);
  }

  #passage(journey: Journey): Passage {
    const link = this;
    return {
      get isHeld() {
        return link.#isCut;
      },
      get pieceBytesMax() {
        const rate = bytesPerMs(link.#shape);
        if (rate === null) return PIECE_BYTES_MAX;
        return Math.min(Math.max(Math.floor(rate * PIECE_MS), SEGMENT_BYTES), PIECE_BYTES_MAX);
      },
      send: (nowMs, bytes) => journey.send(nowMs, bytes, link.#shape),
      restart: () => journey.restart(),
      arrived(bytes) {
        link.#bytes += bytes;
      },
    };
  }
}
