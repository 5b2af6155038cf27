// The forms in which an edge's change of a model might stand in what went over a wire: as the
// numbers themselves, as what they were changed to, or as the whole numbers that masks are added
// to.
import { encodeFixedPoint, type FixedPoint } from "../../sync/secagg/fixed-point.ts";
import type { HeardStream } from "./wire-tap.ts";

/** Numbers of one trace; within a row of any matrix, and never all alike by chance. */
const WINDOW = 8;
/** Of one edge; more would take longer to look for than the round took. */
const WINDOWS_MAX = 12;

/** A change of numbers: before and after. */
export type NumberChange = readonly [start: Float32Array, result: Float32Array];

/** Who heard which form of which change. */
export interface NumberLeak {
  readonly form: string;
  readonly owner: string;
}

/** Where changes stand in what was heard. */
export function numberLeaksIn(
  streams: readonly HeardStream[],
  changes: readonly NumberChange[],
  ring: FixedPoint,
): NumberLeak[] {
  return tracesOf(changes, ring).flatMap(([form, trace]) =>
    streams.filter(({ bytes }) => bytes.includes(trace)).map(({ owner }) => ({ form, owner })),
  );
}

function tracesOf(
  changes: readonly NumberChange[],
  ring: FixedPoint,
): readonly (readonly [form: string, trace: Buffer])[] {
  const windows = changes.map((change) => windowOf(change)).filter((one) => one !== null);
  const step = Math.max(1, Math.floor(windows.length / WINDOWS_MAX));
  return windows
    .filter((_, i) => i % step === 0)
    .flatMap(({ delta, result }) => {
      const tensors = new Map([["window", { shape: [WINDOW], data: delta }]]);
      return [
        ["change", bytesOf(delta)] as const,
        // From a start of zeros it is the change itself.
        ...(bytesOf(result).equals(bytesOf(delta)) ? [] : [["result", bytesOf(result)] as const]),
        ["unmasked", bytesOf(encodeFixedPoint(tensors, ring))] as const,
      ];
    });
}

/** In the middle of a tensor, where every number has changed; null where none has. */
function windowOf([start, result]: NumberChange) {
  const middle = Math.floor(result.length / 2 / (2 * WINDOW)) * (2 * WINDOW);
  const after = result.slice(middle, middle + WINDOW);
  const delta = after.map((value, i) => value - start[middle + i]!);
  return delta.length === WINDOW && delta.every((value) => value !== 0)
    ? { delta, result: after }
    : null;
}

function bytesOf(words: Float32Array | Uint32Array): Buffer {
  return Buffer.from(words.buffer, words.byteOffset, words.byteLength);
}
