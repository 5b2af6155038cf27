// What a conformance suite is run against: the public interfaces of an edge, a gateway, or of a
// scripted backend in the test's own process.

export interface ConformanceTarget {
  /** http://host:port */
  readonly http: string;
  /** host:port */
  readonly grpc: string;
  readonly model: string;
  /** A prompt that the model answers with some tokens, at temperature 0 always the same. */
  readonly prompt: string;
  /** Whether the model can embed. */
  readonly embeds: boolean;
}

/** Targets are started in a before hook, so suites ask for them late. */
export type GetTarget = () => ConformanceTarget;
