// A gRPC caller below every gRPC library: bytes over node:http2, for what no library would send and
// for readers that never read.
import { type ClientHttp2Session, type ClientHttp2Stream, connect } from "node:http2";

export interface RawAnswer {
  /** gRPC status; NaN if the stream ended without one. */
  readonly status: number;
  readonly fault: string;
}

/** A message in gRPC's framing: not compressed, with its length. */
export function framed(message: Uint8Array): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

export function rawConnect(address: string): ClientHttp2Session {
  const session = connect(`http://${address}`);
  session.on("error", () => {}); // streams tell
  return session;
}

/** Starts a call with these bytes as its whole body. Nothing is read until somebody listens. */
export function rawCall(
  session: ClientHttp2Session,
  path: string,
  body: Buffer,
): ClientHttp2Stream {
  const stream = session.request({
    ":method": "POST",
    ":path": path,
    "content-type": "application/grpc",
    te: "trailers",
  });
  stream.on("error", () => {}); // told by close
  stream.end(body);
  return stream;
}

/** Reads a call to its end. */
export function rawAnswer(stream: ClientHttp2Stream): Promise<RawAnswer> {
  return new Promise((resolve) => {
    let found: RawAnswer = { status: Number.NaN, fault: "" };
    const look = (headers: Readonly<Record<string, unknown>>): void => {
      if (headers["grpc-status"] === undefined) return;
      const fault = String(headers["isthmus-fault"] ?? "");
      found = { status: Number(headers["grpc-status"]), fault };
    };
    stream.on("response", look); // a refusal comes without a body
    stream.on("trailers", look);
    stream.on("close", () => resolve(found));
    stream.resume();
  });
}
