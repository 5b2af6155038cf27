// PUT /v1/artifacts/<sha256>: takes an artifact in, as one body or in resumable pieces.
//
// A piece carries `Content-Range: bytes a-b/total`; the answer is 201 when the artifact is whole
// and verified, else 202 with `Upload-Offset`, the first byte still missing. `Content-Range:
// bytes */n` with an empty body asks for that offset. A piece that starts elsewhere gets 409 and
// the offset.
import { type Context, Hono } from "hono";
import { Fault } from "../../proto/fault.ts";
import { type Sha256, sha256Pattern } from "../../proto/ids.ts";
import { badName } from "./artifact-routes.ts";
import type { ArtifactStore, ArtifactWriter } from "./artifact-store.ts";
import { type ContentRange, parseContentRange } from "./byte-range.ts";

export interface PutRoutesOptions {
  /** Largest artifact taken. */
  readonly maxBytes: number;
  /** Told of every artifact that has become whole, before the caller is. */
  readonly onStored?: (sha256: Sha256, bytes: number) => Promise<void>;
}

export function putRoutes(store: ArtifactStore, options: PutRoutesOptions): Hono {
  const app = new Hono();
  app.put("/v1/artifacts/:sha256", async (c) => {
    const name = c.req.param("sha256");
    if (!sha256Pattern.test(name)) throw badName();
    return await take(c, store, name as Sha256, options);
  });
  return app;
}

async function take(
  c: Context,
  store: ArtifactStore,
  sha256: Sha256,
  options: PutRoutesOptions,
): Promise<Response> {
  const header = c.req.header("content-range");
  const piece = header === undefined ? undefined : parseContentRange(header);
  if (header !== undefined && piece?.total === undefined) {
    throw new Fault(
      "invalid-argument",
      "Content-Range must be `bytes a-b/total` or `bytes */total`",
    );
  }
  const total = piece?.total ?? Number(c.req.header("content-length") ?? 0);
  if (total > options.maxBytes) {
    throw new Fault("payload-too-large", `${total} bytes; at most ${options.maxBytes} are taken`);
  }
  if (store.has(sha256)) {
    await c.req.raw.body?.cancel();
    return stored(store, sha256, 200);
  }
  const writer = await store.write(sha256, total);
  let open = true;
  const commit = () => {
    open = false;
    return writer.commit();
  };
  try {
    const whole = await receive(c, writer, piece, options.maxBytes);
    if (whole === undefined) return conflict(writer.offset);
    if (!whole) return pending(writer.offset);
    await commit();
  } finally {
    if (open) await writer.close();
  }
  await options.onStored?.(sha256, store.size(sha256) ?? 0);
  return stored(store, sha256, 201);
}

/** Writes the body on; says whether the artifact is whole, undefined when it doesn't fit there. */
async function receive(
  c: Context,
  writer: ArtifactWriter,
  piece: ContentRange | undefined,
  maxBytes: number,
): Promise<boolean | undefined> {
  if (piece === undefined) await writer.restart();
  else if (piece.range === undefined) return writer.offset === piece.total;
  else if (piece.range.start !== writer.offset) return undefined;
  const end = piece?.range === undefined ? maxBytes : piece.range.end + 1;
  for await (const chunk of (c.req.raw.body ?? []) as AsyncIterable<Uint8Array>) {
    if (writer.offset + chunk.length > end) {
      throw new Fault("payload-too-large", `the body goes on past byte ${end}`);
    }
    await writer.write(chunk);
  }
  return piece === undefined || writer.offset === piece.total;
}

function stored(store: ArtifactStore, sha256: Sha256, status: 200 | 201): Response {
  return answer(status, { sha256, bytes: store.size(sha256) ?? 0 });
}

function pending(offset: number): Response {
  return answer(202, { offset }, { "upload-offset": String(offset) });
}

function conflict(offset: number): Response {
  const error = { code: "conflict", message: `the next byte is ${offset}`, param: "content-range" };
  return answer(409, { error }, { "upload-offset": String(offset) });
}

function answer(status: number, body: object, headers: Record<string, string> = {}): Response {
  return new Response(JSON.stringify(body), {
    status,
    headers: { "content-type": "application/json", ...headers },
  });
}
