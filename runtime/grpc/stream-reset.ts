// Ends a server call at once, dropping what its reader hasn't read.
import { constants, type Http2Stream } from "node:http2";

/**
 * Resets the HTTP/2 stream under a grpc-js server call, so that all that is buffered for it is
 * freed. The client sees RESOURCE_EXHAUSTED. grpc-js has no public way to do it: its own status
 * would queue behind the data that is never read. Returns false if the stream couldn't be found.
 */
export function resetStream(call: object): boolean {
  const { call: inner } = call as { call?: { stream?: Partial<Http2Stream> } };
  const stream = inner?.stream;
  if (typeof stream?.close !== "function") return false;
  stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM);
  return true;
}
