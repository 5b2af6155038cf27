// f32 numbers as blocks of 8-bit integers, each block with an f32 scale of its own.
//
// Error: at most half a step, 1/254 of the largest magnitude in the block (`int8ErrorMax`). A block
// that holds a NaN or an infinity gets a NaN for its scale, so that nobody can overlook it.

export const INT8_BLOCK = 64;
const LEVELS = 127;
/** Rounding of the scale and of the products to f32, as a share of the largest magnitude. */
const ROUNDING = 2 ** -22;
/** Scales of the very smallest blocks are whole multiples of 2^-149. */
const UNDERFLOW = 2 ** -142;

export interface Int8Blocks {
  readonly codes: Int8Array;
  readonly scales: Float32Array;
}

export function blockCount(count: number): number {
  return Math.ceil(count / INT8_BLOCK);
}

/** The largest error that a number can have whose block's largest magnitude is this. */
export function int8ErrorMax(largest: number): number {
  return largest * (1 / (2 * LEVELS) + ROUNDING) + UNDERFLOW;
}

export function encodeInt8(values: Float32Array): Int8Blocks {
  const codes = new Int8Array(values.length);
  const scales = new Float32Array(blockCount(values.length));
  for (let b = 0; b < scales.length; b++) {
    const first = b * INT8_BLOCK;
    const end = Math.min(values.length, first + INT8_BLOCK);
    let largest = 0;
    for (let i = first; i < end; i++) largest = Math.max(largest, Math.abs(values[i]!));
    const scale = scaleOf(largest);
    scales[b] = scale;
    if (!(scale > 0)) continue;
    for (let i = first; i < end; i++) codes[i] = levelOf(values[i]! / scale);
  }
  return { codes, scales };
}

/** Requires as many scales as the codes have blocks. */
export function decodeInt8({ codes, scales }: Int8Blocks): Float32Array {
  const values = new Float32Array(codes.length);
  for (let i = 0; i < codes.length; i++) {
    values[i] = scales[Math.floor(i / INT8_BLOCK)]! * codes[i]!;
  }
  return values;
}

function scaleOf(largest: number): number {
  if (!Number.isFinite(largest)) return Number.NaN;
  const scale = Math.fround(largest / LEVELS);
  // Near the largest f32 there is, a scale that was rounded up would give infinity.
  return Number.isFinite(Math.fround(scale * LEVELS)) ? scale : Math.fround(scale * (1 - 2 ** -23));
}

/** A tiny scale may have been rounded down so far that the quotient is beyond the levels. */
function levelOf(quotient: number): number {
  return Math.max(-LEVELS, Math.min(LEVELS, Math.round(quotient)));
}
