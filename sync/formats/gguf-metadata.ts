// The key-value part of a GGUF file: typed values, and lookups that say what they expected.

import { Fault } from "../../proto/fault.ts";

/** GGUF's numbers for its value types. */
export const GgufValueType = {
  uint8: 0,
  int8: 1,
  uint16: 2,
  int16: 3,
  uint32: 4,
  int32: 5,
  float32: 6,
  bool: 7,
  string: 8,
  array: 9,
  uint64: 10,
  int64: 11,
  float64: 12,
} as const;
export type GgufValueTypeName = keyof typeof GgufValueType;
export type GgufScalarType = Exclude<GgufValueTypeName, "array">;
export type GgufScalar = string | number | boolean;

/** One value with the type that it has (or shall have) in the file. Nested arrays don't occur. */
export type GgufValue =
  | { readonly type: GgufScalarType; readonly value: GgufScalar }
  | {
      readonly type: "array";
      readonly itemType: GgufScalarType;
      readonly value: readonly GgufScalar[];
    };

/** Keys with their values, in file order. */
export type GgufMetadata = ReadonlyMap<string, GgufValue>;

export const ggufString = (value: string): GgufValue => ({ type: "string", value });
export const ggufUint32 = (value: number): GgufValue => ({ type: "uint32", value });
export const ggufFloat32 = (value: number): GgufValue => ({ type: "float32", value });
export const ggufBool = (value: boolean): GgufValue => ({ type: "bool", value });
export const ggufStrings = (value: readonly string[]): GgufValue => ({
  type: "array",
  itemType: "string",
  value,
});
export const ggufInt32s = (value: readonly number[]): GgufValue => ({
  type: "array",
  itemType: "int32",
  value,
});

/** A number under a key, or undefined when the key is absent. */
export function metadataNumber(metadata: GgufMetadata, key: string): number | undefined {
  const entry = metadata.get(key);
  if (entry === undefined) return undefined;
  if (typeof entry.value === "number") return entry.value;
  throw wrongType(key, "a number");
}

export function metadataString(metadata: GgufMetadata, key: string): string | undefined {
  const entry = metadata.get(key);
  if (entry === undefined) return undefined;
  if (typeof entry.value === "string") return entry.value;
  throw wrongType(key, "a string");
}

export function metadataStrings(
  metadata: GgufMetadata,
  key: string,
): readonly string[] | undefined {
  const entry = metadata.get(key);
  if (entry === undefined) return undefined;
  if (entry.type === "array" && entry.itemType === "string") return entry.value as string[];
  throw wrongType(key, "an array of strings");
}

/** A number that the file must have. */
export function requireNumber(metadata: GgufMetadata, key: string): number {
  const value = metadataNumber(metadata, key);
  if (value === undefined) throw absent(key);
  return value;
}

export function requireString(metadata: GgufMetadata, key: string): string {
  const value = metadataString(metadata, key);
  if (value === undefined) throw absent(key);
  return value;
}

function wrongType(key: string, expected: string): Fault {
  return new Fault("invalid-argument", `GGUF metadata ${key} isn't ${expected}`);
}

function absent(key: string): Fault {
  return new Fault("invalid-argument", `GGUF metadata lacks ${key}`);
}
