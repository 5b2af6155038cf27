// A TCP proxy on the loopback address that stands for a link between two processes, so that tests
// can make that link slow, silent in one or both directions, or broken.
import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { HeldBytes, type Passage } from "../../deploy/wan/pipe.ts";
import { RelayedConnection } from "../../deploy/wan/relayed-connection.ts";
import { type Clock, systemClock } from "../../runtime/clock.ts";
import type { Random } from "../../runtime/random.ts";

const LOOPBACK = "127.0.0.1";
/** Under way through one link; beyond, senders wait. */
const HELD_BYTES_MAX = 64 << 20;
const PIECE_BYTES_MAX = 64 << 10;
/** Connections through one link at once; more are reset at the door. */
const CONNECTIONS_MAX = 1024;

/** What becomes of the bytes that go one way. */
export type Flow =
  | { readonly kind: "pass" }
  /** Each chunk comes `ms`, and up to `jitterMs` more, later; the order stays. */
  | { readonly kind: "delay"; readonly ms: number; readonly jitterMs: number }
  /** Nothing arrives, not even an end or a reset, until the flow passes again: then all does. */
  | { readonly kind: "hold" };

export const pass: Flow = { kind: "pass" };
export const hold: Flow = { kind: "hold" };

/** Which way: from whoever connects to the target, back from it, or both. */
export type Direction = "forward" | "backward" | "both";

export interface LinkProxyOptions {
  /** host:port of what stands behind the link. */
  readonly target: string;
  /** 0, the default, takes a free one. */
  readonly port?: number;
  readonly clock?: Clock;
  /** Draws the jitter. Default: none. */
  readonly random?: Random;
  /** Whether who begins with these bytes goes this way; others are reset. Default: all do. */
  readonly admits?: (first: Buffer) => boolean;
}

export class LinkProxy implements AsyncDisposable {
  readonly target: string;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #admits: (first: Buffer) => boolean;
  readonly #held = new HeldBytes(HELD_BYTES_MAX);
  readonly #server: Server;
  readonly #connections = new Set<RelayedConnection>();
  #forward: Flow = pass;
  #backward: Flow = pass;
  #isCut = false;

  private constructor(options: LinkProxyOptions) {
    this.target = options.target;
    const { clock = systemClock, random = () => 0, admits = () => true } = options;
    this.#clock = clock;
    this.#random = random;
    this.#admits = admits;
    this.#server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) =>
      this.#accept(socket),
    );
  }

  /** Starts to listen. Rejects when the port is taken. */
  static async listen(options: LinkProxyOptions): Promise<LinkProxy> {
    const proxy = new LinkProxy(options);
    proxy.#server.listen(options.port ?? 0, LOOPBACK);
    await once(proxy.#server, "listening");
    return proxy;
  }

  /** host:port to connect to in place of the target. */
  get address(): string {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("the link is closed");
    return `${LOOPBACK}:${address.port}`;
  }

  /** Connections that are open now. */
  get connections(): number {
    return this.#connections.size;
  }

  /** Bytes go through as they come, both ways; what was held is delivered. */
  pass(): void {
    this.#isCut = false;
    this.#flow("both", pass);
  }

  delay(ms: number, jitterMs = 0, direction: Direction = "both"): void {
    this.#flow(direction, { kind: "delay", ms, jitterMs });
  }

  /**
   * Nothing arrives any more, and nobody is told: no end, no reset, and new connections are taken
   * but lead nowhere. When the link passes again, what was sent arrives late, as TCP would have it.
   */
  blackHole(direction: Direction = "both"): void {
    this.#flow(direction, hold);
  }

  /** Resets every connection, and each new one, until the link passes again. */
  cut(): void {
    this.#isCut = true;
    this.reset();
  }

  /** Resets every connection; new ones go through as before. */
  reset(): void {
    for (const connection of [...this.#connections]) connection.reset();
  }

  async close(): Promise<void> {
    this.cut();
    if (!this.#server.listening) return;
    const closed = once(this.#server, "close");
    this.#server.close();
    await closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #flow(direction: Direction, flow: Flow): void {
    if (direction !== "backward") this.#forward = flow;
    if (direction !== "forward") this.#backward = flow;
    for (const connection of [...this.#connections]) connection.follow();
  }

  #accept(socket: Socket): void {
    if (this.#isCut || this.#connections.size >= CONNECTIONS_MAX) {
      socket.on("error", () => {}); // it is being destroyed
      socket.resetAndDestroy();
      return;
    }
    socket.once("data", (first: Buffer) => {
      if (!this.#admits(first)) connection.reset();
    });
    const connection = new RelayedConnection({
      near: socket,
      target: this.target,
      passages: {
        forward: this.#passage(() => this.#forward),
        backward: this.#passage(() => this.#backward),
        setOut: () => 0,
      },
      clock: this.#clock,
      held: this.#held,
      onClose: () => this.#connections.delete(connection),
    });
    this.#connections.add(connection);
    connection.follow();
  }

  /** One way of one connection, under whatever flow is the link's at the time. */
  #passage(flowNow: () => Flow): Passage {
    const random = this.#random;
    let arriveMs = 0;
    return {
      get isHeld() {
        return flowNow().kind === "hold";
      },
      pieceBytesMax: PIECE_BYTES_MAX,
      send(nowMs) {
        const flow = flowNow();
        const delayMs = flow.kind === "delay" ? flow.ms + random() * flow.jitterMs : 0;
        arriveMs = Math.max(nowMs + delayMs, arriveMs);
        return { departMs: nowMs, arriveMs };
      },
      restart() {
        arriveMs = 0;
      },
      arrived() {},
    };
  }
}
