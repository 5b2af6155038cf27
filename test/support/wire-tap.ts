// Listens in on the connections of a whole mesh: a TCP proxy before every port, which keeps what
// went through, so that a test can prove where a text has been and where it has not.
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { type MeshShape, meshLayout } from "../../deploy/local/layout.ts";
import type { Wiring } from "../../deploy/nats/wiring.ts";

const LOOPBACK = "127.0.0.1";
/** Of one port; a test ends long before. */
const KEPT_BYTES_MAX = 64 << 20;

export interface WireTaps extends AsyncDisposable {
  readonly via: Wiring;
  /** Who listens on the ports through which the text went, either way, as one piece. */
  heardBy(text: string): string[];
  /** All that went through so far, one way of one connection each. */
  heard(): HeardStream[];
}

export interface HeardStream {
  /** Who listens on the port. */
  readonly owner: string;
  readonly bytes: Buffer;
}

interface Tap {
  readonly owner: string;
  readonly server: Server;
  readonly sockets: Set<Socket>;
  readonly streams: Buffer[][];
  bytes: number;
}

/** Taps every port of a mesh that is about to start. */
export async function tapWires(shape: MeshShape): Promise<WireTaps> {
  const taps = new Map<string, Tap>();
  const ways = new Map<string, string>();
  for (const { port, owner } of meshLayout(shape).ports) {
    const tap = makeTap(owner, port);
    tap.server.listen(0, LOOPBACK);
    await once(tap.server, "listening");
    const address = tap.server.address();
    if (address === null || typeof address === "string") throw new Error("no port");
    taps.set(owner, tap);
    ways.set(`${LOOPBACK}:${port}`, `${LOOPBACK}:${address.port}`);
  }
  return {
    via: (_, address) => ways.get(address) ?? address,
    heardBy(text) {
      const holds = (stream: Buffer[]) => Buffer.concat(stream).includes(text);
      return [...taps.values()].filter((tap) => tap.streams.some(holds)).map(({ owner }) => owner);
    },
    heard: () =>
      [...taps.values()].flatMap(({ owner, streams }) =>
        streams.map((stream) => ({ owner, bytes: Buffer.concat(stream) })),
      ),
    async [Symbol.asyncDispose]() {
      for (const { sockets } of taps.values()) for (const socket of sockets) socket.destroy();
      await Promise.all(
        [...taps.values()].map(async ({ server }) => {
          const closed = once(server, "close");
          server.close();
          await closed;
        }),
      );
    },
  };
}

function makeTap(owner: string, port: number): Tap {
  const sockets = new Set<Socket>();
  const tap: Tap = { owner, sockets, streams: [], bytes: 0, server: createServer() };
  tap.server.on("connection", (near: Socket) => {
    const far = connect(port, LOOPBACK);
    listenIn(tap, near, far);
    listenIn(tap, far, near);
  });
  return tap;
}

function listenIn(tap: Tap, from: Socket, to: Socket): void {
  const stream: Buffer[] = [];
  tap.streams.push(stream);
  tap.sockets.add(from);
  from.setNoDelay(true);
  from.on("data", (chunk: Buffer) => {
    tap.bytes += chunk.length;
    if (tap.bytes > KEPT_BYTES_MAX) throw new Error(`too much went through to ${tap.owner}`);
    stream.push(chunk);
    to.write(chunk);
  });
  from.on("end", () => to.end());
  from.on("error", () => to.destroy());
  from.on("close", () => {
    tap.sockets.delete(from);
    to.destroy();
  });
}
