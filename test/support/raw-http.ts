// An HTTP caller below every HTTP library: what is written to the socket is what is sent.
import { connect, type Socket } from "node:net";

/** Connects to http://host:port. */
export function rawSocket(http: string): Socket {
  const { hostname, port } = new URL(http);
  const socket = connect(Number(port), hostname);
  socket.on("error", () => {}); // told by close
  return socket;
}

/** The head and body of a POST of JSON. */
export function rawPost(path: string, body: string, headers = ""): string {
  const length = Buffer.byteLength(body);
  return (
    `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n` +
    `content-length: ${length}\r\n${headers}\r\n${body}`
  );
}

/** All that arrives until the peer closes. */
export function rawAll(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    let text = "";
    socket.on("data", (chunk) => {
      text += chunk.toString("utf8");
    });
    socket.on("close", () => resolve(text));
  });
}
