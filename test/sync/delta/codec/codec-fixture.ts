// What tests of codecs share: tensors of any numbers, and their way through a file and back.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { encodeDelta } from "../../../../sync/delta/codec/delta-encoder.ts";
import type { CodecFormat } from "../../../../sync/delta/codec/delta-format.ts";
import { readDelta } from "../../../../sync/delta/codec/delta-numbers.ts";
import type { TensorMap } from "../../../../sync/delta/tensor-map.ts";

/** Runs with a folder of its own for files. */
export async function inFolder<T>(run: (dir: string) => Promise<T>): Promise<T> {
  const dir = mkdtempSync(join(tmpdir(), "isthmus-codec-"));
  try {
    return await run(dir);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

/** Any finite f32, of any size. */
const anyNumber = fc.float({ noNaN: true, noDefaultInfinity: true });
/** Numbers as deltas have them. */
const usualNumber = fc.float({ min: -2, max: 2, noNaN: true });

function tensorsOf(number: fc.Arbitrary<number>): fc.Arbitrary<TensorMap> {
  const rows = fc.integer({ min: 1, max: 9 });
  const tensor = fc.tuple(rows, fc.integer({ min: 1, max: 40 })).chain(([a, b]) => {
    return fc
      .array(number, { minLength: a * b, maxLength: a * b })
      .map((values) => ({ shape: [a, b], data: Float32Array.from(values) }));
  });
  return fc
    .uniqueArray(fc.constantFrom("a", "b.lora_a", "blk.0.q", "z"), { minLength: 1 })
    .chain((names) =>
      fc
        .tuple(...names.map(() => tensor))
        .map((tensors) => new Map(names.map((name, i) => [name, tensors[i]!]))),
    );
}

export const anyTensors = tensorsOf(anyNumber);
export const usualTensors = tensorsOf(usualNumber);

export const formats: readonly CodecFormat[] = [
  { codec: "f32", topShare: 0 },
  { codec: "bf16", topShare: 0 },
  { codec: "int8", topShare: 0 },
  { codec: "top-k", topShare: 0.1 },
];

/** Writes a delta to a file and reads it back. */
export async function throughFile(dir: string, tensors: TensorMap, format: CodecFormat) {
  const path = join(dir, "delta.safetensors");
  writeFileSync(path, encodeDelta(tensors, format));
  return { path, ...(await readDelta(path)) };
}
