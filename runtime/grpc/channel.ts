// Channels to other processes of the mesh, with the settings that were measured.
import { type ChannelOptions, Client, credentials } from "@grpc/grpc-js";

/** Largest answer that we take: a full batch of embeddings. */
const RESPONSE_BYTES_MAX = 64 << 20;
/** The default of 64 kB caps a connection at 100 ms RTT to a fraction of what an edge makes. */
export const FLOW_CONTROL_WINDOW_BYTES = 4 << 20;

export interface KeepaliveMs {
  readonly timeMs: number;
  readonly timeoutMs: number;
}

/** Sees a black hole in about 2.5 s. A shorter timeout takes a process that is busy for dead. */
export const peerKeepalive: KeepaliveMs = { timeMs: 1000, timeoutMs: 1500 };

export function channelOptions(keepalive: KeepaliveMs = peerKeepalive): ChannelOptions {
  return {
    "grpc.keepalive_time_ms": keepalive.timeMs,
    "grpc.keepalive_timeout_ms": keepalive.timeoutMs,
    "grpc.keepalive_permit_without_calls": 1,
    "grpc-node.flow_control_window": FLOW_CONTROL_WINDOW_BYTES,
    "grpc.max_receive_message_length": RESPONSE_BYTES_MAX,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1000,
    "grpc.enable_channelz": 0,
    "grpc.use_local_subchannel_pool": 1, // each channel is its own connection
    "grpc.enable_retries": 0, // resuming is ours, and a retry in between would hide a dead link
  };
}

/** Opens a channel to host:port. It connects on the first call. */
export function openChannel(address: string, keepalive: KeepaliveMs = peerKeepalive): Client {
  return new Client(address, credentials.createInsecure(), channelOptions(keepalive));
}
