// One connection through a link: the socket that was accepted, the one to the target, and a pipe
// each way. The target is dialled once it would have heard of the connection.
import { connect, type Socket } from "node:net";
import type { Clock, Timer } from "../../runtime/clock.ts";
import { type HeldBytes, type Passage, Pipe } from "./pipe.ts";

/** A peer whose network is gone says no more: its kernel is asked after this long of silence. */
const KEEP_ALIVE_MS = 15_000;

/** Both ways of a connection. */
export interface Passages {
  readonly forward: Passage;
  readonly backward: Passage;
  /** The handshake begins now: in how many milliseconds the target learns of the connection. */
  setOut(nowMs: number): number;
}

export interface RelayOptions {
  /** Accepted with `allowHalfOpen` and paused. */
  readonly near: Socket;
  /** host:port */
  readonly target: string;
  readonly passages: Passages;
  readonly clock: Clock;
  readonly held: HeldBytes;
  readonly onClose: () => void;
}

export class RelayedConnection {
  readonly #options: RelayOptions;
  readonly #forward: Pipe;
  #backward: Pipe | null = null;
  #dialling: Timer | null = null;
  #isClosed = false;
  #pipesOpen = 2;

  /** Begins only with the first `follow`. */
  constructor(options: RelayOptions) {
    this.#options = options;
    const { near, passages } = options;
    near.setKeepAlive(true, KEEP_ALIVE_MS);
    near.on("error", () => {}); // "close" tells how it ended
    near.once("end", () => {
      // Whoever ends while its SYN gets no answer has given up.
      if (this.#backward === null && passages.forward.isHeld) this.reset();
    });
    near.once("close", () => {
      if (this.#backward === null) this.reset();
    });
    this.#forward = this.#pipe(near, passages.forward);
  }

  /** The passages have changed: dial, hold back or let go accordingly. */
  follow(): void {
    if (this.#isClosed) return;
    const { passages, clock } = this.#options;
    if (this.#backward === null) {
      this.#dialling?.cancel();
      // A held SYN gets no answer: the target hears of it only once something may go there.
      if (!passages.forward.isHeld) {
        const waitMs = passages.setOut(clock.monotonicMs());
        if (waitMs === 0) this.#dial();
        else this.#dialling = clock.after(waitMs, () => this.#dial());
      }
    }
    this.#forward.follow();
    this.#backward?.follow();
  }

  reset(): void {
    if (this.#isClosed) return;
    this.#forward.drop();
    this.#backward?.drop();
    this.#closed();
  }

  #dial(): void {
    const { near, target, passages } = this.#options;
    const colon = target.lastIndexOf(":");
    const far = connect({
      host: target.slice(0, colon),
      port: Number(target.slice(colon + 1)),
      allowHalfOpen: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_MS,
    });
    far.on("error", () => {}); // "close" tells how it ended
    this.#backward = this.#pipe(far, passages.backward);
    this.#backward.connectTo(near);
    this.#forward.connectTo(far);
  }

  #pipe(source: Socket, passage: Passage): Pipe {
    const { clock, held } = this.#options;
    const onDone = () => {
      this.#pipesOpen -= 1;
      if (this.#pipesOpen === 0) this.#closed();
    };
    return new Pipe({ source, passage, clock, held, onDone });
  }

  #closed(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#dialling?.cancel();
    this.#options.onClose();
  }
}
