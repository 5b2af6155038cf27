// The lease's record as it stands in the KV: JSON, checked when it is read.
import { z } from "zod";
import type { LeaseRecord } from "./lease-state.ts";

const RECORD_BYTES_MAX = 4096;

const schema = z.object({
  instance: z.string(),
  incarnation: z.int().min(0),
  term: z.int().min(0),
  bornMs: z.int().min(0),
  http: z.string(),
  grpc: z.string(),
  released: z.boolean(),
});

export function encodeLease(record: LeaseRecord): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(record));
}

/** Null for what no instance has written: whoever comes first writes over it. */
export function decodeLease(body: Uint8Array): LeaseRecord | null {
  if (body.byteLength === 0 || body.byteLength > RECORD_BYTES_MAX) return null;
  try {
    return schema.parse(JSON.parse(new TextDecoder().decode(body)));
  } catch {
    return null;
  }
}
