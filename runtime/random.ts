// The one place that owns global randomness. Everything else is given a Random, so that tests and
// simulations are repeatable.

/** Uniform in [0, 1). */
export type Random = () => number;

export const systemRandom: Random = () => Math.random();
