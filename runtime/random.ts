// The one place that owns global randomness. Everything else is given a Random, so that tests and
// simulations are repeatable.
import { createCipheriv, randomBytes } from "node:crypto";

/** Uniform in [0, 1). */
export type Random = () => number;

export const systemRandom: Random = () => Math.random();

/** The next bytes of a source. */
export type RandomBytes = (count: number) => Uint8Array;

/** From the system's CSPRNG: for keys, and for noise that nobody may guess. */
export const secureBytes: RandomBytes = (count) => Uint8Array.from(randomBytes(count));

export const STREAM_SEED_BYTES = 32;

/**
 * The endless stream that a secret seed stands for: nobody without the seed can tell it from
 * chance. The AES-256-CTR keystream under the seed from counter 0, so it may be cut anywhere.
 */
export function seededBytes(seed: Uint8Array): RandomBytes {
  const cipher = createCipheriv("aes-256-ctr", seed, Buffer.alloc(16));
  return (count) => Uint8Array.from(cipher.update(Buffer.alloc(count)));
}
