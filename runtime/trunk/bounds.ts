// The limits and periods of trunks, both ends.

/** Client: how often silence is checked. */
export const TICK_MS = 250;
/** Client: a ping each this many ticks. */
export const PING_TICKS = 2;
/**
 * Client: a peer silent for so many ticks is lost. Ticks are counted, not time, so that a stall of
 * our own process counts once and never condemns the peer.
 */
export const SILENT_TICKS_MAX = 6;
/**
 * Client: the newest round trip's weight in the average. A longer one may be a busy process, a
 * shorter one can only be the path: it counts more.
 */
export const RTT_WEIGHT = { longer: 0.1, shorter: 0.5 } as const;
/** Client: completions in flight on one stream. */
export const IN_FLIGHT_MAX = 4096;
/** Client: parallel streams, each its own connection. */
export const STREAMS_MAX = 4;
/** Client: pauses between attempts to connect double from the first to the last, jittered. */
export const RECONNECT_MIN_MS = 50;
export const RECONNECT_MAX_MS = 1000;

/** Server: completions at once from one trunk. */
export const SUBMITTED_MAX = 4096;
/** Server: events of one completion that wait for a trunk which the peer doesn't read. */
export const HELD_PER_REQUEST_MAX = 512;
/** Server: events of all completions that wait for it. */
export const HELD_MAX = 32_768;
/** Server: a client that hasn't even pinged for so many ticks is gone; its work is aborted. */
export const CLIENT_TICK_MS = 1000;
export const CLIENT_SILENT_TICKS_MAX = 4;
/** Server: regions that a request may name as passed. */
export const VISITED_MAX = 8;
