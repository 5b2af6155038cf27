// The inner loops of weighted sums, in AssemblyScript (TypeScript's syntax, WebAssembly's types).
// `npm run kernels` compiles this file to ../sum-kernel.wasm.
//
// Each sum* takes one piece of several deltas, lying `stride` bytes apart, and adds weight · value
// to f64 sums, delta after delta. Every number is rounded as in a plain loop over doubles, once for
// the product and once for the addition, so neither the width of the vectors nor the size of the
// pieces changes a bit. Eight sums stay in registers while the deltas pass by.
//
// Requires: counts are multiples of BLOCK; what lies between a tensor's end and the next multiple
// is summed too, and ignored by the caller.

/** Values that share one scale in an int8 delta. */
const BLOCK: usize = 64;
/** Values summed at once. */
const STEP: usize = 8;

/** sums[i] += Σ weights[d] · values[d][i], values in f32. */
export function sumF32(
  sums: usize,
  values: usize,
  stride: usize,
  weights: usize,
  deltas: usize,
  count: usize,
): void {
  for (let i: usize = 0; i < count; i += STEP, sums += STEP << 3, values += STEP << 2) {
    let s0 = v128.load(sums);
    let s1 = v128.load(sums, 16);
    let s2 = v128.load(sums, 32);
    let s3 = v128.load(sums, 48);
    let x = values;
    for (let d: usize = 0; d < deltas; d++, x += stride) {
      const w = v128.load64_splat(weights + (d << 3));
      s0 = f64x2.add(s0, f64x2.mul(w, f64x2.promote_low_f32x4(v128.load64_zero(x))));
      s1 = f64x2.add(s1, f64x2.mul(w, f64x2.promote_low_f32x4(v128.load64_zero(x, 8))));
      s2 = f64x2.add(s2, f64x2.mul(w, f64x2.promote_low_f32x4(v128.load64_zero(x, 16))));
      s3 = f64x2.add(s3, f64x2.mul(w, f64x2.promote_low_f32x4(v128.load64_zero(x, 24))));
    }
    v128.store(sums, s0);
    v128.store(sums, s1, 16);
    v128.store(sums, s2, 32);
    v128.store(sums, s3, 48);
  }
}

/** sums[i] += Σ weights[d] · values[d][i], values in bf16: the upper halves of f32. */
export function sumBf16(
  sums: usize,
  values: usize,
  stride: usize,
  weights: usize,
  deltas: usize,
  count: usize,
): void {
  const zero = i32x4.splat(0);
  for (let i: usize = 0; i < count; i += STEP, sums += STEP << 3, values += STEP << 1) {
    let s0 = v128.load(sums);
    let s1 = v128.load(sums, 16);
    let s2 = v128.load(sums, 32);
    let s3 = v128.load(sums, 48);
    let x = values;
    for (let d: usize = 0; d < deltas; d++, x += stride) {
      const w = v128.load64_splat(weights + (d << 3));
      const halves = v128.load(x);
      const low = v128.shuffle<u16>(zero, halves, 0, 8, 1, 9, 2, 10, 3, 11);
      const high = v128.shuffle<u16>(zero, halves, 4, 12, 5, 13, 6, 14, 7, 15);
      s0 = f64x2.add(s0, f64x2.mul(w, f64x2.promote_low_f32x4(low)));
      s1 = f64x2.add(s1, f64x2.mul(w, f64x2.promote_low_f32x4(upperHalf(low))));
      s2 = f64x2.add(s2, f64x2.mul(w, f64x2.promote_low_f32x4(high)));
      s3 = f64x2.add(s3, f64x2.mul(w, f64x2.promote_low_f32x4(upperHalf(high))));
    }
    v128.store(sums, s0);
    v128.store(sums, s1, 16);
    v128.store(sums, s2, 32);
    v128.store(sums, s3, 48);
  }
}

/**
 * sums[i] += Σ weights[d] · (scales[d][i / BLOCK] · values[d][i]), values in int8; the inner
 * product is rounded to f32, as a decoder rounds it. The deltas' scales lie `scaleStride` bytes
 * apart.
 */
export function sumInt8(
  sums: usize,
  values: usize,
  stride: usize,
  scales: usize,
  scaleStride: usize,
  weights: usize,
  deltas: usize,
  count: usize,
): void {
  for (let i: usize = 0; i < count; i += STEP, sums += STEP << 3, values += STEP) {
    let s0 = v128.load(sums);
    let s1 = v128.load(sums, 16);
    let s2 = v128.load(sums, 32);
    let s3 = v128.load(sums, 48);
    let x = values;
    let scale = scales + ((i / BLOCK) << 2);
    for (let d: usize = 0; d < deltas; d++, x += stride, scale += scaleStride) {
      const w = v128.load64_splat(weights + (d << 3));
      const s = v128.load32_splat(scale);
      const wide = v128.load_ext<i8>(x);
      const low = f32x4.mul(s, f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(wide)));
      const high = f32x4.mul(s, f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(wide)));
      s0 = f64x2.add(s0, f64x2.mul(w, f64x2.promote_low_f32x4(low)));
      s1 = f64x2.add(s1, f64x2.mul(w, f64x2.promote_low_f32x4(upperHalf(low))));
      s2 = f64x2.add(s2, f64x2.mul(w, f64x2.promote_low_f32x4(high)));
      s3 = f64x2.add(s3, f64x2.mul(w, f64x2.promote_low_f32x4(upperHalf(high))));
    }
    v128.store(sums, s0);
    v128.store(sums, s1, 16);
    v128.store(sums, s2, 32);
    v128.store(sums, s3, 48);
  }
}

/**
 * sums[index[j] - first] += weight · values[j] for the entries of one delta whose index is from
 * `first` to `first + length`. Answers how many of `count` entries come before the end of it.
 * Requires: indices ascend, and none is below `first`.
 */
export function sumSparse(
  sums: usize,
  index: usize,
  values: usize,
  weight: f64,
  first: u32,
  length: u32,
  count: u32,
): u32 {
  for (let j: u32 = 0; j < count; j++) {
    const at = load<u32>(index + (j << 2)) - first;
    if (at >= length) return j;
    const sum = sums + ((<usize>at) << 3);
    store<f64>(sum, load<f64>(sum) + weight * <f64>load<f32>(values + (j << 2)));
  }
  return count;
}

/** Rounds sums to f32. */
export function roundSums(sums: usize, rounded: usize, count: usize): void {
  for (let i: usize = 0; i < count; i += 4, sums += 32, rounded += 16) {
    const low = f32x4.demote_f64x2_zero(v128.load(sums));
    const high = f32x4.demote_f64x2_zero(v128.load(sums, 16));
    v128.store(rounded, v128.shuffle<u64>(low, high, 0, 2));
  }
}

/** The upper two f32 of four, as the lower two. */
function upperHalf(four: v128): v128 {
  return v128.shuffle<u64>(four, four, 1, 1);
}
