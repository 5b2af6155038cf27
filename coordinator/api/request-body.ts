// Reads a JSON body through a strict schema; whatever is wrong with it is told by field.
import type { Context } from "hono";
import type { z } from "zod";
import { Fault } from "../../proto/fault.ts";

const BODY_BYTES_MAX = 1 << 20;

/** Faults: `payload-too-large`, `invalid-argument` with the field as `param`. */
export async function readBody<T>(c: Context, schema: z.ZodType<T>): Promise<T> {
  return readValue(parseJson(await readText(c)), schema);
}

/** The same for a value that is read already. Faults: `invalid-argument`. */
export function readValue<T>(value: unknown, schema: z.ZodType<T>): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const param = issue?.path.map(String).join(".") ?? "";
  const message = param === "" ? issue?.message : `${param}: ${issue?.message}`;
  throw new Fault("invalid-argument", message ?? "the body is wrong", { param });
}

async function readText(c: Context): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of (c.req.raw.body ?? []) as AsyncIterable<Uint8Array>) {
    bytes += chunk.length;
    if (bytes > BODY_BYTES_MAX) {
      throw new Fault("payload-too-large", `a body may have ${BODY_BYTES_MAX} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

/** No body is an empty object, so that a bare POST works where every field is optional. */
function parseJson(text: string): unknown {
  if (text.trim() === "") return {};
  try {
    return JSON.parse(text);
  } catch {
    throw new Fault("invalid-argument", "the body isn't valid JSON");
  }
}
