// Server-sent events written straight to node's response, bounded against slow readers.
import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";

export interface EventStream {
  /** Whether anybody may still be listening. */
  readonly open: boolean;
  /** Sends one event; `data` is JSON on one line. */
  send(data: string): void;
  /** Sends a comment, which readers skip, if nothing was sent since the last call of this. */
  keepAlive(): void;
  end(): void;
}

/** Bytes that may wait for one reader; beyond it the connection is cut. */
export const PENDING_BYTES_MAX = 1 << 20;

/** Proxies between us and the reader cut connections that are silent for a minute or so. */
export const KEEP_ALIVE_MS = 10_000;
const KEEP_ALIVE_COMMENT = ": keep-alive\n\n";

/** Begins the answer. `onSlow` is called once if the reader falls too far behind. */
export function openEventStream(
  outgoing: ServerResponse,
  headers: Readonly<Record<string, string>>,
  onSlow: () => void,
): EventStream {
  let open = true;
  let silent = true;
  const write = (text: string): void => {
    if (!open) return;
    silent = false;
    if (socket === null) outgoing.write(text);
    else socket.write(`${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`);
    if ((socket ?? outgoing).writableLength <= PENDING_BYTES_MAX) return;
    open = false;
    outgoing.destroy();
    onSlow();
  };
  outgoing.on("close", () => {
    open = false;
  });
  outgoing.writeHead(200, {
    ...headers,
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no", // proxies must pass each event on at once
  });
  outgoing.flushHeaders();
  const socket = chunkedSocket(outgoing);
  return {
    get open() {
      return open;
    },
    send: (data) => write(`data: ${data}\n\n`),
    keepAlive() {
      if (silent) write(KEEP_ALIVE_COMMENT);
      silent = true;
    },
    end() {
      if (!open) return;
      open = false;
      outgoing.end();
    },
  };
}

/**
 * The socket, if what is written to it right away is the body of this answer: node writes each
 * chunk in four pieces, and one is a sixth cheaper. An answer that waits behind another on its
 * connection has no socket yet, and one to HTTP/1.0 no chunks: these are left to node.
 */
function chunkedSocket(outgoing: ServerResponse): Socket | null {
  return outgoing.chunkedEncoding ? outgoing.socket : null;
}
