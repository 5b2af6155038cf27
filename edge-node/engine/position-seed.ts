// The seed with which sampling goes on at a position of a completion. A sampler's random state is
// lost with its node, so a resumed completion starts a new one, the same on every node.

/** Shapes: unsigned 32-bit in and out; position 0 gives the seed itself. */
export function positionSeed(seed: number, position: number): number {
  if (position === 0) return seed >>> 0;
  // Finalizer of MurmurHash3 over the seed moved by the golden ratio per position.
  let hash = (seed + Math.imul(position, 0x9e3779b9)) >>> 0;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
