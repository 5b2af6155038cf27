// Normal variates out of random bytes, for noise that has to hide something: the bytes come from
// the system's CSPRNG, or in tests and redone work from a seeded stream.
import type { RandomBytes } from "../../runtime/random.ts";

/** Mean 0, variance 1. */
export type Gaussian = () => number;

/** Bytes asked for at once. */
const BLOCK_BYTES = 1 << 16;
const BYTES_EACH = 8;
const TWO_32 = 2 ** 32;
/** Of a u32, so that with 32 bits more there are 53. */
const DROPPED_BITS = 11;
const TWO_MINUS_53 = 2 ** -53;

/** Box and Muller's transform of uniform numbers of 53 bits; each pair gives two variates. */
export function gaussian(bytes: RandomBytes): Gaussian {
  const uniform = uniforms(bytes);
  let spare: number | null = null;
  return () => {
    if (spare !== null) {
      const kept = spare;
      spare = null;
      return kept;
    }
    // In (0, 1], so that the logarithm is finite.
    const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
    const angle = 2 * Math.PI * uniform();
    spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  };
}

/** Uniform in [0, 1), in steps of 2⁻⁵³. */
function uniforms(bytes: RandomBytes): () => number {
  let view: DataView = new DataView(new ArrayBuffer(0));
  let at = 0;
  return () => {
    if (at >= view.byteLength) {
      const block = bytes(BLOCK_BYTES);
      view = new DataView(block.buffer, block.byteOffset, block.byteLength);
      at = 0;
    }
    const high = view.getUint32(at, true) >>> DROPPED_BITS;
    const low = view.getUint32(at + 4, true);
    at += BYTES_EACH;
    return (high * TWO_32 + low) * TWO_MINUS_53;
  };
}
