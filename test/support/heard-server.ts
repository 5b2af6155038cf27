// A TCP server that keeps what it heard from each connection, for tests of what lies between it and
// its callers.
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { eventually } from "./eventually.ts";

export interface HeardConnection {
  readonly socket: Socket;
  text: string;
  ended: boolean;
  reset: boolean;
}

export interface HeardServer extends Disposable {
  /** host:port */
  readonly address: string;
  /** In the order of accepting. */
  readonly heard: HeardConnection[];
  /** Round trips beside what is tested: whatever could have arrived has had its time. */
  settle(): Promise<void>;
}

export async function startHeardServer(): Promise<HeardServer> {
  const heard: HeardConnection[] = [];
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const entry = { socket, text: "", ended: false, reset: false };
    heard.push(entry);
    socket.on("data", (bytes) => {
      entry.text += bytes.toString("latin1");
    });
    socket.on("end", () => {
      entry.ended = true;
    });
    socket.on("error", () => {
      entry.reset = true;
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    address,
    heard,
    async settle() {
      for (let turn = 0; turn < 3; turn += 1) {
        const socket = await dial(address);
        socket.write("settled");
        const entry = await eventually("the server hears", () =>
          heard.find(({ text }) => text === "settled"),
        );
        heard.splice(heard.indexOf(entry), 1);
        socket.destroy();
        entry.socket.destroy();
      }
    },
    [Symbol.dispose]() {
      for (const { socket } of heard) socket.destroy();
      server.close();
    },
  };
}

/** Connects to host:port; how it ends is told by `errored` alone. */
export async function dial(address: string): Promise<Socket> {
  const [host = "", port] = address.split(":");
  const socket = connect({ host, port: Number(port), noDelay: true });
  socket.on("error", () => {}); // tests look at `errored`
  await once(socket, "connect");
  return socket;
}
