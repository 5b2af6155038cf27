// One connection through a link: two sockets, and a pipe each way that follows the link's state.
import { connect, type Socket } from "node:net";
import type { Timer } from "../../runtime/clock.ts";
import type { Flow, LinkState } from "./link-proxy.ts";

/** Bytes that a delay may hold back in one direction; beyond, the sender is made to wait. */
export const DELAYED_BYTES_MAX = 4 << 20;

/** What went into a pipe: bytes, or how the sender ended. */
type Parcel =
  | { readonly kind: "bytes"; readonly bytes: Buffer; readonly dueMs: number }
  | { readonly kind: "end" | "reset"; readonly dueMs: number };

export class LinkConnection {
  readonly #near: Socket;
  readonly #target: string;
  readonly #state: LinkState;
  readonly #onClose: () => void;
  #pipes: { readonly forward: Pipe; readonly backward: Pipe } | null = null;
  #isClosed = false;

  /** `near` is the accepted socket, paused. The target is dialled once something may go there. */
  constructor(near: Socket, target: string, state: LinkState, onClose: () => void) {
    this.#near = near;
    this.#target = target;
    this.#state = state;
    this.#onClose = onClose;
    near.on("error", () => {}); // "close" tells how it ended
    near.once("close", () => {
      if (this.#pipes === null) this.#closed();
    });
  }

  /** The link's state has changed: dial, hold back or let go accordingly. */
  follow(): void {
    const { forward, backward } = this.#state;
    // A held SYN gets no answer: the target hears of it only once something may go there.
    if (this.#pipes === null && forward.kind !== "hold") this.#dial();
    this.#pipes?.forward.follow(forward);
    this.#pipes?.backward.follow(backward);
  }

  reset(): void {
    this.#near.resetAndDestroy();
    this.#pipes?.forward.drop();
    this.#pipes?.backward.drop();
    this.#closed();
  }

  #dial(): void {
    const [host, port] = this.#target.split(":");
    const far = connect({ host: host ?? "", port: Number(port), allowHalfOpen: true });
    far.on("error", () => {}); // "close" tells how it ended
    let open = 2;
    const onClose = () => {
      open -= 1;
      if (open === 0) this.#closed();
    };
    const { clock, random } = this.#state;
    this.#pipes = {
      forward: new Pipe(this.#near, far, clock, random, onClose),
      backward: new Pipe(far, this.#near, clock, random, onClose),
    };
  }

  #closed(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#onClose();
  }
}

/** Carries what one socket says to another, at once, late, or not before it may. */
class Pipe {
  readonly #source: Socket;
  readonly #sink: Socket;
  readonly #clock: LinkState["clock"];
  readonly #random: LinkState["random"];
  readonly #onDone: () => void;
  readonly #parcels: Parcel[] = [];
  #delayedBytes = 0;
  #flow: Flow = { kind: "pass" };
  #timer: Timer | null = null;
  #isSinkFull = false;
  #isDone = false;

  constructor(
    source: Socket,
    sink: Socket,
    clock: LinkState["clock"],
    random: LinkState["random"],
    onDone: () => void,
  ) {
    this.#source = source;
    this.#sink = sink;
    this.#clock = clock;
    this.#random = random;
    this.#onDone = onDone;
    source.on("data", (bytes: Buffer) => this.#take({ kind: "bytes", bytes, dueMs: this.#due() }));
    source.once("end", () => this.#take({ kind: "end", dueMs: this.#due() }));
    source.once("close", () => this.#take({ kind: "reset", dueMs: this.#due() }));
    const goOn = () => {
      this.#isSinkFull = false;
      this.#move();
    };
    sink.on("drain", goOn);
    sink.once("close", goOn); // what comes now goes nowhere
  }

  follow(flow: Flow): void {
    this.#flow = flow;
    this.#move();
  }

  /** Gives up, and resets both sockets. */
  drop(): void {
    this.#finish();
    this.#source.resetAndDestroy();
    this.#sink.resetAndDestroy();
  }

  #due(): number {
    const nowMs = this.#clock.monotonicMs();
    if (this.#flow.kind !== "delay") return nowMs;
    const { ms, jitterMs } = this.#flow;
    return Math.max(nowMs + ms + this.#random() * jitterMs, this.#parcels.at(-1)?.dueMs ?? 0);
  }

  #take(parcel: Parcel): void {
    if (this.#isDone) return;
    if (parcel.kind === "bytes") this.#delayedBytes += parcel.bytes.byteLength;
    this.#parcels.push(parcel);
    this.#move();
  }

  #move(): void {
    this.#timer?.cancel();
    this.#timer = null;
    while (!this.#isDone && this.#flow.kind !== "hold" && !this.#isSinkFull) {
      const next = this.#parcels[0];
      if (next === undefined) break;
      const waitMs = next.dueMs - this.#clock.monotonicMs();
      if (waitMs > 0 && this.#flow.kind === "delay") {
        this.#timer = this.#clock.after(waitMs, () => this.#move());
        break;
      }
      this.#parcels.shift();
      this.#deliver(next);
    }
    const isFull = this.#isSinkFull || this.#delayedBytes >= DELAYED_BYTES_MAX;
    if (this.#flow.kind === "hold" || isFull) this.#source.pause();
    else this.#source.resume();
  }

  #deliver(parcel: Parcel): void {
    if (parcel.kind === "bytes") {
      this.#delayedBytes -= parcel.bytes.byteLength;
      if (!this.#sink.destroyed) this.#isSinkFull = !this.#sink.write(parcel.bytes);
    } else if (parcel.kind === "end") {
      this.#sink.end();
    } else {
      // Whoever closed after an end said all there was; otherwise the peer learns of the break.
      if (!this.#source.readableEnded || this.#source.errored) this.#sink.resetAndDestroy();
      this.#finish();
    }
  }

  #finish(): void {
    if (this.#isDone) return;
    this.#isDone = true;
    this.#timer?.cancel();
    this.#parcels.length = 0;
    this.#delayedBytes = 0;
    this.#onDone();
  }
}
