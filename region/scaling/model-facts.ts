// What a region sees of one model at one moment: all that a decision rests on.

export interface ModelFacts {
  /** Edges that serve it, that have its file and would load it, and that are bringing it up. */
  readonly ready: number;
  readonly stored: number;
  readonly starting: number;
  /** Requests in slots and in the queues of edges, whoever sent them there. */
  readonly active: number;
  readonly queued: number;
  /** Requests that the gateways of this region hold until an edge is up. */
  readonly held: number;
  /** Counts that only grow: requests that ended at edges of this region, ... */
  readonly ended: number;
  /** ... those that no edge of it got to serve, ... */
  readonly turnedAway: number;
  /** ... those routed to one, and of them the ones whose first token was predicted to be late. */
  readonly routed: number;
  readonly late: number;
  /** Requests that one edge runs at once, by its own measurements. */
  readonly slotsPerEdge: number;
  /** A request's time in its slot. */
  readonly serviceMs: number;
  /** The first token of a usual request on an edge with nothing else to do. */
  readonly idleTtftMs: number;
  /** From asking for an edge to its first answer. */
  readonly startUpMs: number;
}
