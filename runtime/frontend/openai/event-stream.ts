// Server-sent events written straight to node's response, bounded against slow readers.
import type { ServerResponse } from "node:http";

export interface EventStream {
  /** Whether anybody may still be listening. */
  readonly open: boolean;
  /** Sends one event; `data` is JSON on one line. */
  send(data: string): void;
  end(): void;
}

/** Bytes that may wait for one reader; beyond it the connection is cut. */
export const PENDING_BYTES_MAX = 1 << 20;

/** Begins the answer. `onSlow` is called once if the reader falls too far behind. */
export function openEventStream(
  outgoing: ServerResponse,
  headers: Readonly<Record<string, string>>,
  onSlow: () => void,
): EventStream {
  let open = true;
  outgoing.on("close", () => {
    open = false;
  });
  outgoing.writeHead(200, {
    ...headers,
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no", // proxies must pass each event on at once
  });
  return {
    get open() {
      return open;
    },
    send(data) {
      if (!open) return;
      outgoing.write(`data: ${data}\n\n`);
      if (outgoing.writableLength <= PENDING_BYTES_MAX) return;
      open = false;
      outgoing.destroy();
      onSlow();
    },
    end() {
      if (!open) return;
      open = false;
      outgoing.end();
    },
  };
}
