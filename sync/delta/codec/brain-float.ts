// f32 numbers as bfloat16: the upper half of their bits, rounded to nearest, ties to even.
//
// Error: at most 2^-8 of the number (2^-134 where even f32 has no full precision). What is finite
// stays finite: a number that would round to infinity becomes the largest bfloat16. NaN and
// infinities stay what they are.

const EXPONENT_BITS = 0x7f80;
const LARGEST = 0x7f7f;
const QUIET = 0x40;

export function encodeBrainFloats(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  return Uint16Array.from(bits, encodeBits);
}

export function decodeBrainFloats(halves: Uint16Array): Float32Array {
  const bits = new Uint32Array(halves.length);
  for (let i = 0; i < halves.length; i++) bits[i] = halves[i]! << 16;
  return new Float32Array(bits.buffer);
}

function encodeBits(bits: number): number {
  const upper = bits >>> 16;
  const lower = bits & 0xffff;
  if ((upper & EXPONENT_BITS) === EXPONENT_BITS) {
    const isNumberless = (bits & 0x7fffff) !== 0;
    // A NaN whose only bits are in the half that goes would become an infinity.
    return isNumberless ? upper | QUIET : upper;
  }
  const isUp = lower > 0x8000 || (lower === 0x8000 && (upper & 1) === 1);
  const rounded = isUp ? upper + 1 : upper;
  return (rounded & EXPONENT_BITS) === EXPONENT_BITS ? (upper & 0x8000) | LARGEST : rounded;
}
