// Writes a delta in a round's format, as one safetensors file. What needs the larger alignment
// comes first, so that a reader finds every number aligned.
import { bytesOf } from "../../formats/gguf-writer.ts";
import { sortedNames, type TensorMap } from "../tensor-map.ts";
import { encodeBrainFloats } from "./brain-float.ts";
import { type CodecFormat, topCount } from "./delta-format.ts";
import { encodeInt8 } from "./int8-blocks.ts";
import { pickTop } from "./top-numbers.ts";

/** Names of what a tensor is made of, besides its own. A tensor's name never holds a `#`. */
export const SCALES_SUFFIX = "#scales";
export const INDEX_SUFFIX = "#index";
export const VALUES_SUFFIX = "#values";
/** Metadata with the dense shapes by tensor name, as JSON, where the file holds no dense tensor. */
export const SHAPES_KEY = "shapes";

interface Entry {
  readonly name: string;
  readonly dtype: "F32" | "U32" | "BF16" | "I8";
  readonly shape: readonly number[];
  readonly data: ArrayBufferView;
}

/** The bytes of a delta: the same numbers in the same format are always the same bytes. */
export function encodeDelta(
  tensors: TensorMap,
  format: CodecFormat,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  const names = sortedNames(tensors);
  const of = (name: string) => tensors.get(name)!;
  switch (format.codec) {
    case "f32":
      return encodeEntries(
        names.map((name) => ({ name, dtype: "F32", ...of(name) })),
        metadata,
      );
    case "bf16":
      return encodeEntries(
        names.map((name) => {
          const { shape, data } = of(name);
          return { name, dtype: "BF16", shape, data: encodeBrainFloats(data) };
        }),
        metadata,
      );
    case "int8":
      return encodeEntries(int8Entries(names, tensors), metadata);
    case "top-k": {
      const shapes = Object.fromEntries(names.map((name) => [name, of(name).shape]));
      const entries = names.flatMap((name) => topEntries(name, of(name).data, format.topShare));
      return encodeEntries(entries, { ...metadata, [SHAPES_KEY]: JSON.stringify(shapes) });
    }
  }
}

function int8Entries(names: readonly string[], tensors: TensorMap): Entry[] {
  const blocks = names.map((name) => {
    const { shape, data } = tensors.get(name)!;
    return { name, shape, ...encodeInt8(data) };
  });
  return [
    ...blocks.map(({ name, scales }) => {
      const shape = [scales.length];
      return { name: name + SCALES_SUFFIX, dtype: "F32", shape, data: scales } as const;
    }),
    ...blocks.map(({ name, shape, codes }) => ({ name, dtype: "I8", shape, data: codes }) as const),
  ];
}

function topEntries(name: string, data: Float32Array, topShare: number): Entry[] {
  const { index, values } = pickTop(data, topCount(data.length, topShare));
  const shape = [index.length];
  return [
    { name: name + INDEX_SUFFIX, dtype: "U32", shape, data: index },
    { name: name + VALUES_SUFFIX, dtype: "F32", shape, data: values },
  ];
}

function encodeEntries(
  entries: readonly Entry[],
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  const header: Record<string, unknown> = {};
  if (Object.keys(metadata).length > 0) header.__metadata__ = metadata;
  let offset = 0;
  for (const { name, dtype, shape, data } of entries) {
    const end = offset + data.byteLength;
    header[name] = { dtype, shape, data_offsets: [offset, end] };
    offset = end;
  }
  const json = Buffer.from(JSON.stringify(header), "utf8");
  const padded = Math.ceil(json.length / 8) * 8;
  const head = Buffer.alloc(8 + padded, " ");
  head.writeBigUInt64LE(BigInt(padded));
  json.copy(head, 8);
  return Buffer.concat([head, ...entries.map(({ data }) => bytesOf(data))]);
}
