// Seeded random streams by name: what one part of a simulation draws changes nothing for another.
import type { Random } from "../../../runtime/random.ts";

/** A 32-bit hash of a text, FNV-1a with a final mix. */
export function hashText(text: string, start = 0x811c9dc5): number {
  let hash = start;
  for (let k = 0; k < text.length; k += 1) {
    hash = Math.imul(hash ^ text.charCodeAt(k), 0x01000193);
  }
  return mix(hash);
}

/** A 32-bit hash of two numbers. */
export function hashPair(left: number, right: number): number {
  return mix(Math.imul(mix(left), 0x9e3779b1) ^ (right + 0x7f4a7c15));
}

function mix(value: number): number {
  let hash = value | 0;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** sfc32 (Chris Doty-Humphrey), seeded by a name. */
function stream(seed: number, name: string): Random {
  let a = hashText(name, seed | 0) | 0;
  let b = hashText(name, a) | 0;
  let c = hashText(name, b) | 0;
  let counter = 1;
  const next = (): number => {
    const sum = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + sum) | 0;
    return (sum >>> 0) / 2 ** 32;
  };
  for (let k = 0; k < 12; k += 1) next();
  return next;
}

export class RandomStreams {
  readonly seed: number;

  constructor(seed: number) {
    this.seed = seed;
  }

  of(name: string): Random {
    return stream(this.seed, name);
  }
}

export function exponential(random: Random, mean: number): number {
  return -Math.log(1 - random()) * mean;
}

/** Standard normal, by Box and Muller. */
export function normal(random: Random): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

export function logNormal(random: Random, median: number, sigma: number): number {
  return median * Math.exp(sigma * normal(random));
}

/** An index below `count`, the first ones more often: Zipf with exponent 1, approximately. */
export function zipf(random: Random, count: number): number {
  return Math.min(count - 1, Math.floor((count + 1) ** random()) - 1);
}
