// Top-k with a memory: what one delta leaves out is added to the next, so that in the end every
// number arrives. The law: sent + residual = delta + former residual, number by number, exactly
// (up to the one rounding of that sum to f32, and as long as no norm bound cuts it).
// Source: Stich et al., "Sparsified SGD with Memory", arXiv 1809.07599, algorithm 1.
import type { SafeTensor } from "../../formats/safetensors.ts";
import { clipNorm, layoutDifference, layoutOf, type TensorMap } from "../tensor-map.ts";
import { type CodecFormat, topCount } from "./delta-format.ts";
import { pickTop } from "./top-numbers.ts";

export interface FedBack {
  /** What to encode: nothing is lost of it any more. */
  readonly sent: TensorMap;
  /** What is still owed; null when the format leaves nothing out. */
  readonly residual: TensorMap | null;
}

/**
 * Adds what is owed to a delta and takes out what the format sends. A former residual of another
 * layout belongs to something else and is dropped. The sum is clipped to `normMax` (0: no bound)
 * before, so that what is owed can't lift a delta over the bound.
 */
export function feedBack(
  delta: TensorMap,
  former: TensorMap | null,
  format: CodecFormat,
  normMax: number,
): FedBack {
  if (format.codec !== "top-k") return { sent: delta, residual: null };
  const owed = former && !layoutDifference(layoutOf(delta), layoutOf(former)) ? former : null;
  const whole = clipNorm(owed ? sumOf(delta, owed) : delta, normMax);
  const sent = new Map<string, SafeTensor>();
  const residual = new Map<string, SafeTensor>();
  for (const [name, { shape, data }] of whole) {
    const { index } = pickTop(data, topCount(data.length, format.topShare));
    const taken = new Float32Array(data.length);
    const left = data.slice();
    for (const i of index) {
      taken[i] = data[i]!;
      left[i] = 0;
    }
    sent.set(name, { shape, data: taken });
    residual.set(name, { shape, data: left });
  }
  return { sent, residual };
}

function sumOf(delta: TensorMap, owed: TensorMap): TensorMap {
  return new Map(
    [...delta].map(([name, { shape, data }]) => {
      const more = owed.get(name)!.data;
      return [name, { shape, data: data.map((value, i) => value + more[i]!) }];
    }),
  );
}
