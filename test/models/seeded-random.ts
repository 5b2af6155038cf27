// Seeded random numbers for test weights: the same seed makes the same file everywhere.

/** Uniform in [0, 1). Source: mulberry32. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** Fills with numbers of mean 0 and the given deviation. */
export function gaussians(length: number, deviation: number, random: () => number): Float32Array {
  const values = new Float32Array(length);
  for (let at = 0; at < length; at += 2) {
    const radius = deviation * Math.sqrt(-2 * Math.log(1 - random()));
    const angle = 2 * Math.PI * random();
    values[at] = radius * Math.cos(angle);
    if (at + 1 < length) values[at + 1] = radius * Math.sin(angle);
  }
  return values;
}
