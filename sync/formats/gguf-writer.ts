// Writes GGUF v3 files, whole or not at all: a temporary file, synced and renamed.

import fs from "node:fs";
import { Fault } from "../../proto/fault.ts";
import {
  type GgufMetadata,
  type GgufScalar,
  type GgufScalarType,
  type GgufValue,
  GgufValueType,
  metadataNumber,
} from "./gguf-metadata.ts";
import { GGUF_DEFAULT_ALIGNMENT } from "./gguf-reader.ts";
import { type TensorType, tensorBytes } from "./tensor-type.ts";

/** A tensor to write. Dimensions are in ggml's order: the row length first. */
export interface GgufTensor {
  readonly name: string;
  readonly dimensions: readonly number[];
  readonly type: TensorType;
  readonly data: Uint8Array | Float32Array;
}

/** Writes a GGUF v3 file, aligned as its metadata says (32 bytes, if that says nothing). */
export function writeGguf(
  path: string,
  metadata: GgufMetadata,
  tensors: readonly GgufTensor[],
): void {
  const alignment = metadataNumber(metadata, "general.alignment") ?? GGUF_DEFAULT_ALIGNMENT;
  const padding = (length: number) => (alignment - (length % alignment)) % alignment;
  const header = encodeHeader(metadata, tensors, padding);
  const temporary = `${path}.part`;
  const fd = fs.openSync(temporary, "w");
  try {
    writeFully(fd, header);
    writeFully(fd, Buffer.alloc(padding(header.length)));
    for (const tensor of tensors) {
      writeFully(fd, bytesOf(tensor.data));
      writeFully(fd, Buffer.alloc(padding(tensor.data.byteLength)));
    }
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
  fs.renameSync(temporary, path);
}

/** The bytes behind a typed array, without a copy. */
export function bytesOf(data: ArrayBufferView): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

function encodeHeader(
  metadata: GgufMetadata,
  tensors: readonly GgufTensor[],
  padding: (length: number) => number,
): Buffer {
  const parts = [
    Buffer.from("GGUF", "latin1"),
    uint32(3),
    uint64(tensors.length),
    uint64(metadata.size),
  ];
  for (const [key, value] of metadata) {
    parts.push(string(key));
    // A vocabulary has more entries than a call may have arguments.
    for (const part of encodeValue(value)) parts.push(part);
  }
  let offset = 0;
  for (const tensor of tensors) {
    if (tensorBytes(tensor.type, tensor.dimensions) !== tensor.data.byteLength) {
      throw new Fault(
        "failed-precondition",
        `${tensor.name}: ${tensor.data.byteLength} bytes don't fit its shape and type`,
      );
    }
    parts.push(
      string(tensor.name),
      uint32(tensor.dimensions.length),
      ...tensor.dimensions.map(uint64),
      uint32(tensor.type),
      uint64(offset),
    );
    offset += tensor.data.byteLength + padding(tensor.data.byteLength);
  }
  return Buffer.concat(parts);
}

function encodeValue(value: GgufValue): Buffer[] {
  if (value.type !== "array") {
    return [uint32(GgufValueType[value.type]), scalar(value.type, value.value)];
  }
  const { itemType } = value;
  return [
    uint32(GgufValueType.array),
    uint32(GgufValueType[itemType]),
    uint64(value.value.length),
    ...value.value.map((item) => scalar(itemType, item)),
  ];
}

function scalar(type: GgufScalarType, value: GgufScalar): Buffer {
  if (type === "string") return string(String(value));
  if (type === "bool") return Buffer.from([value ? 1 : 0]);
  const number = Number(value);
  const fixed = (bytes: number, write: (b: Buffer) => void) => {
    const buffer = Buffer.alloc(bytes);
    write(buffer);
    return buffer;
  };
  switch (type) {
    case "uint8":
      return fixed(1, (b) => b.writeUInt8(number));
    case "int8":
      return fixed(1, (b) => b.writeInt8(number));
    case "uint16":
      return fixed(2, (b) => b.writeUInt16LE(number));
    case "int16":
      return fixed(2, (b) => b.writeInt16LE(number));
    case "uint32":
      return uint32(number);
    case "int32":
      return fixed(4, (b) => b.writeInt32LE(number));
    case "float32":
      return fixed(4, (b) => b.writeFloatLE(number));
    case "uint64":
      return uint64(number);
    case "int64":
      return fixed(8, (b) => b.writeBigInt64LE(BigInt(number)));
    case "float64":
      return fixed(8, (b) => b.writeDoubleLE(number));
  }
}

function uint32(value: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32LE(value);
  return buffer;
}

function uint64(value: number): Buffer {
  const buffer = Buffer.alloc(8);
  buffer.writeBigUInt64LE(BigInt(value));
  return buffer;
}

function string(text: string): Buffer {
  const bytes = Buffer.from(text, "utf8");
  return Buffer.concat([uint64(bytes.length), bytes]);
}

function writeFully(fd: number, data: Uint8Array): void {
  for (let done = 0; done < data.length; ) {
    done += fs.writeSync(fd, data, done, data.length - done);
  }
}
