// The forms in which a text might stand in what went over a wire: as it is, escaped, encoded, or as
// the ids of its tokens.
import type { HeardStream } from "./wire-tap.ts";

/** Fewer bytes than these stand anywhere by chance. */
const TRACE_BYTES_MIN = 8;

/** A text that was to stay where it was, and who heard it. */
export interface Leak {
  readonly text: string;
  readonly form: string;
  readonly owner: string;
}

export interface Secret {
  readonly text: string;
  /** Its tokens, by the vocabulary of the model that learns from it. */
  readonly ids: readonly number[];
}

/** Every secret that stands in any stream, in whatever form. */
export function leaksIn(streams: readonly HeardStream[], secrets: readonly Secret[]): Leak[] {
  const leaks: Leak[] = [];
  for (const { text, ids } of secrets) {
    for (const [form, trace] of tracesOf(text, ids)) {
      if (trace.length < TRACE_BYTES_MIN) continue;
      for (const { owner, bytes } of streams) {
        if (bytes.includes(trace)) leaks.push({ text, form, owner });
      }
    }
  }
  return leaks;
}

export function tracesOf(text: string, ids: readonly number[]): [form: string, trace: Buffer][] {
  const plain = Buffer.from(text);
  const words = Buffer.alloc(4 * ids.length);
  for (const [at, id] of ids.entries()) words.writeUInt32LE(id, 4 * at);
  return [
    ["plain", plain],
    ["JSON", Buffer.from(JSON.stringify(text).slice(1, -1))],
    ["URL", Buffer.from(encodeURIComponent(text))],
    ["hex", Buffer.from(plain.toString("hex"))],
    ["UTF-16", Buffer.from(text, "utf16le")],
    // The middle of the encoding, at each of the three offsets at which it can stand.
    ...[0, 1, 2].map((pad): [string, Buffer] => {
      const encoded = Buffer.from(" ".repeat(pad) + text).toString("base64");
      return ["base64", Buffer.from(encoded.slice(4, -4))];
    }),
    ["ids", Buffer.from(ids.join(","))],
    ["spaced ids", Buffer.from(ids.join(", "))],
    ["ids in words", Buffer.from(ids.join(" "))],
    ["packed ids", packed(ids)],
    ["32-bit ids", words],
  ];
}

/** As protobuf packs a repeated uint32. */
function packed(ids: readonly number[]): Buffer {
  const bytes: number[] = [];
  for (let id of ids) {
    for (; id >= 0x80; id = Math.floor(id / 0x80)) bytes.push((id & 0x7f) | 0x80);
    bytes.push(id);
  }
  return Buffer.from(bytes);
}
