// Reads GGUF v3: the header eagerly and with every number checked, tensor data on demand.

import fs from "node:fs";
import { Fault } from "../../proto/fault.ts";
import {
  type GgufMetadata,
  type GgufScalar,
  type GgufScalarType,
  type GgufValue,
  GgufValueType,
  type GgufValueTypeName,
  metadataNumber,
} from "./gguf-metadata.ts";
import { isTensorType, type TensorType, tensorBytes } from "./tensor-type.ts";

const HEADER_READ_BYTES = 1 << 20;
const HEADER_BYTES_MAX = 1 << 28;
const KEYS_MAX = 65_536;
const TENSORS_MAX = 65_536;
const ARRAY_ITEMS_MAX = 1 << 24;
const STRING_BYTES_MAX = 1 << 24;
const DIMENSIONS_MAX = 4;
export const GGUF_DEFAULT_ALIGNMENT = 32;

/** One tensor of a file. Dimensions are in ggml's order: the row length first. */
export interface GgufTensorInfo {
  readonly name: string;
  readonly dimensions: readonly number[];
  readonly type: TensorType;
  /** Where the data begins, from the start of the file. */
  readonly offset: number;
  readonly byteLength: number;
}

/** A GGUF file's header; tensor data stays on disk until it is asked for. */
export interface GgufFile {
  readonly path: string;
  readonly metadata: GgufMetadata;
  readonly tensors: ReadonlyMap<string, GgufTensorInfo>;
}

/** Reads and checks the header of a GGUF file. Faults: invalid-argument, unsupported. */
export function readGguf(path: string): GgufFile {
  const fd = fs.openSync(path, "r");
  try {
    const fileBytes = fs.fstatSync(fd).size;
    for (let wanted = HEADER_READ_BYTES; ; wanted *= 4) {
      const head = Buffer.alloc(Math.min(wanted, fileBytes));
      readFully(fd, head, 0, path);
      try {
        return parseHeader(path, head, fileBytes);
      } catch (error) {
        if (!(error instanceof HeaderTooShort)) throw error;
        if (head.length >= fileBytes || head.length >= HEADER_BYTES_MAX) {
          throw new Fault("invalid-argument", `${path}: the GGUF header is cut off`);
        }
      }
    }
  } finally {
    fs.closeSync(fd);
  }
}

/** Reads the data of one tensor. */
export function readTensorBytes(file: GgufFile, tensor: GgufTensorInfo): Uint8Array {
  const data = new Uint8Array(tensor.byteLength);
  const fd = fs.openSync(file.path, "r");
  try {
    readFully(fd, data, tensor.offset, file.path);
  } finally {
    fs.closeSync(fd);
  }
  return data;
}

/** Finds a tensor that the file must have. */
export function requireTensor(file: GgufFile, name: string): GgufTensorInfo {
  const tensor = file.tensors.get(name);
  if (!tensor) {
    throw new Fault("failed-precondition", `${file.path}: no tensor named ${name}`);
  }
  return tensor;
}

function readFully(fd: number, into: Uint8Array, position: number, path: string): void {
  for (let done = 0; done < into.length; ) {
    const n = fs.readSync(fd, into, done, into.length - done, position + done);
    if (n === 0) throw new Fault("invalid-argument", `${path}: the file ends early`);
    done += n;
  }
}

/** Thrown inside this file alone: more of the header must be read. */
class HeaderTooShort extends Error {}

class Cursor {
  readonly bytes: Buffer;
  at = 0;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  take(length: number): number {
    const start = this.at;
    if (start + length > this.bytes.length) throw new HeaderTooShort();
    this.at += length;
    return start;
  }

  uint32(): number {
    return this.bytes.readUInt32LE(this.take(4));
  }

  /** A 64-bit integer that must be exact as a number. */
  int64(signed: boolean): number {
    const start = this.take(8);
    const value = signed ? this.bytes.readBigInt64LE(start) : this.bytes.readBigUInt64LE(start);
    const number = Number(value);
    if (!Number.isSafeInteger(number)) throw tooLarge(`integer ${value}`);
    return number;
  }

  count(what: string, max: number): number {
    const n = this.int64(false);
    if (n > max) throw tooLarge(`${what}: ${n}, at most ${max}`);
    return n;
  }

  string(): string {
    const length = this.count("length of a string", STRING_BYTES_MAX);
    const start = this.take(length);
    return this.bytes.toString("utf8", start, start + length);
  }
}

function tooLarge(what: string): Fault {
  return new Fault("invalid-argument", `GGUF header: too large (${what})`);
}

const TYPE_NAMES = new Map<number, GgufValueTypeName>(
  (Object.keys(GgufValueType) as GgufValueTypeName[]).map((name) => [GgufValueType[name], name]),
);

const SCALAR_READERS: Record<GgufScalarType, (c: Cursor) => GgufScalar> = {
  uint8: (c) => c.bytes.readUInt8(c.take(1)),
  int8: (c) => c.bytes.readInt8(c.take(1)),
  uint16: (c) => c.bytes.readUInt16LE(c.take(2)),
  int16: (c) => c.bytes.readInt16LE(c.take(2)),
  uint32: (c) => c.uint32(),
  int32: (c) => c.bytes.readInt32LE(c.take(4)),
  float32: (c) => c.bytes.readFloatLE(c.take(4)),
  bool: (c) => c.bytes.readUInt8(c.take(1)) !== 0,
  string: (c) => c.string(),
  uint64: (c) => c.int64(false),
  int64: (c) => c.int64(true),
  float64: (c) => c.bytes.readDoubleLE(c.take(8)),
};

function parseHeader(path: string, head: Buffer, fileBytes: number): GgufFile {
  const cursor = new Cursor(head);
  if (head.length < 4 || head.toString("latin1", 0, 4) !== "GGUF") {
    throw new Fault("invalid-argument", `${path}: not a GGUF file`);
  }
  cursor.take(4);
  const version = cursor.uint32();
  if (version !== 3) {
    throw new Fault(
      "unsupported",
      `${path}: GGUF version ${version}; only version 3 (little-endian) is supported`,
    );
  }
  const tensorCount = cursor.count("number of tensors", TENSORS_MAX);
  const keyCount = cursor.count("number of keys", KEYS_MAX);
  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < keyCount; i++) metadata.set(cursor.string(), readValue(cursor));
  const relative = Array.from({ length: tensorCount }, () => readTensorInfo(cursor));

  const alignment = metadataNumber(metadata, "general.alignment") ?? GGUF_DEFAULT_ALIGNMENT;
  if (!Number.isInteger(alignment) || alignment < 1 || alignment > 1 << 16) {
    throw new Fault("invalid-argument", `${path}: general.alignment is ${alignment}`);
  }
  const dataStart = Math.ceil(cursor.at / alignment) * alignment;
  const tensors = new Map<string, GgufTensorInfo>();
  for (const tensor of relative) {
    const offset = dataStart + tensor.offset;
    if (offset + tensor.byteLength > fileBytes) {
      throw new Fault(
        "invalid-argument",
        `${path}: tensor ${tensor.name} reaches beyond the end of the file`,
      );
    }
    if (tensors.has(tensor.name)) {
      throw new Fault("invalid-argument", `${path}: tensor ${tensor.name} twice`);
    }
    tensors.set(tensor.name, { ...tensor, offset });
  }
  return { path, metadata, tensors };
}

function readValue(cursor: Cursor): GgufValue {
  const type = readType(cursor);
  if (type !== "array") return { type, value: SCALAR_READERS[type](cursor) };
  const itemType = readType(cursor);
  if (itemType === "array") {
    throw new Fault("unsupported", "GGUF metadata with nested arrays");
  }
  const count = cursor.count("items of an array", ARRAY_ITEMS_MAX);
  const value: GgufScalar[] = [];
  for (let i = 0; i < count; i++) value.push(SCALAR_READERS[itemType](cursor));
  return { type: "array", itemType, value };
}

function readType(cursor: Cursor): GgufValueTypeName {
  const number = cursor.uint32();
  const name = TYPE_NAMES.get(number);
  if (!name) throw new Fault("invalid-argument", `GGUF value type ${number}`);
  return name;
}

function readTensorInfo(cursor: Cursor): GgufTensorInfo {
  const name = cursor.string();
  const dimensionCount = cursor.uint32();
  if (dimensionCount < 1 || dimensionCount > DIMENSIONS_MAX) {
    throw new Fault("invalid-argument", `${name}: ${dimensionCount} dimensions`);
  }
  const dimensions = Array.from({ length: dimensionCount }, () => cursor.int64(false));
  if (!Number.isSafeInteger(dimensions.reduce((a, b) => a * b, 1)) || dimensions.includes(0)) {
    throw new Fault("invalid-argument", `${name}: shape ${dimensions.join("×")}`);
  }
  const type = cursor.uint32();
  if (!isTensorType(type)) {
    throw new Fault(
      "unsupported",
      `${name}: tensor type ${type} isn't supported; convert the model to q8_0, q4_0 or f16`,
    );
  }
  const offset = cursor.int64(false);
  return { name, dimensions, type, offset, byteLength: tensorBytes(type, dimensions) };
}
