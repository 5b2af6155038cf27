// What the operator of an edge does with its examples: import, list, delete. Only for connections
// over the loopback address, because examples are private to the machine; and no text is ever told.
import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { isIP } from "node:net";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { HttpBindings } from "@hono/node-server";
import { type Context, Hono } from "hono";
import { Fault } from "../../proto/fault.ts";
import { modelPattern } from "../../proto/ids.ts";
import { parseExample } from "../training/example-file.ts";
import type { ExampleNote, ExampleStore, NewExample } from "./example-store.ts";

const IMPORT_BYTES_MAX = 64 << 20;
/** Of one example's two texts together, in UTF-16 code units. */
const EXAMPLE_CHARS_MAX = 128 << 10;
/** Examples that are read, or written, before others get a turn. */
const SLICE = 200;
const LIST_MAX = 1000;
const LIST_DEFAULT = 100;
const ID_LENGTH_MAX = 200;

type Env = { Bindings: HttpBindings };

/**
 * POST /v1/examples?model=M with JSONL; GET /v1/examples[?model=M][&limit=N][&before=ID];
 * DELETE /v1/examples/:id.
 */
export function dataRoutes(store: ExampleStore): Hono<Env> {
  const app = new Hono<Env>();
  app.post("/v1/examples", async (c) => {
    checkLocal(c.env.incoming);
    const examples = await readImport(c, modelOf(c));
    let added = 0;
    for (let at = 0; at < examples.length; at += SLICE) {
      added += store.put(examples.slice(at, at + SLICE));
      await nextTurn();
    }
    return c.json({ read: examples.length, added, entries: store.entries, bytes: store.bytes });
  });
  app.get("/v1/examples", (c) => {
    checkLocal(c.env.incoming);
    const limit = limitOf(c);
    const model = c.req.query("model");
    const before = c.req.query("before");
    const found = store.list({ model, before, limit: limit + 1 });
    return c.json({
      examples: found.slice(0, limit).map(noteBody),
      has_more: found.length > limit,
      entries: store.entries,
      bytes: store.bytes,
    });
  });
  app.delete("/v1/examples/:id", (c) => {
    checkLocal(c.env.incoming);
    const id = c.req.param("id");
    if (id.length > ID_LENGTH_MAX || !store.remove(id)) {
      throw new Fault("not-found", "there is no such example here", { param: "id" });
    }
    return c.json({ id, deleted: true });
  });
  return app;
}

/** The whole body, checked before anything of it is kept. Faults name the line, never its text. */
async function readImport(c: Context<Env>, model: string): Promise<NewExample[]> {
  const lines = (await readText(c)).split("\n");
  const examples: NewExample[] = [];
  for (const [at, line] of lines.entries()) {
    if (at % SLICE === 0) await nextTurn();
    if (line.trim() === "") continue;
    const where = `line ${at + 1}`;
    const { prompt, completion } = parseExample(line, where);
    if (prompt.length + completion.length > EXAMPLE_CHARS_MAX) {
      const why = `${where}: longer than ${EXAMPLE_CHARS_MAX} characters`;
      throw new Fault("invalid-argument", why);
    }
    const texts = { prompt: prompt.toWellFormed(), completion: completion.toWellFormed() };
    examples.push({ id: importId(model, texts), model, source: "import", ...texts });
  }
  if (examples.length === 0) throw new Fault("invalid-argument", "there is no example in it");
  return examples;
}

/** The same example imported again is the same example. */
function importId(model: string, { prompt, completion }: { prompt: string; completion: string }) {
  const hash = createHash("sha256").update(JSON.stringify([model, prompt, completion]));
  return `import-${hash.digest("hex").slice(0, 32)}`;
}

async function readText(c: Context<Env>): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of (c.req.raw.body ?? []) as AsyncIterable<Uint8Array>) {
    bytes += chunk.length;
    if (bytes > IMPORT_BYTES_MAX) {
      const why = `one import has at most ${IMPORT_BYTES_MAX} bytes: split the file`;
      throw new Fault("payload-too-large", why);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

function modelOf(c: Context<Env>): string {
  const model = c.req.query("model") ?? "";
  if (modelPattern.test(model)) return model;
  throw new Fault("invalid-argument", "say for which model: ?model=M", { param: "model" });
}

function limitOf(c: Context<Env>): number {
  const limit = Number(c.req.query("limit") ?? LIST_DEFAULT);
  if (Number.isInteger(limit) && limit >= 1 && limit <= LIST_MAX) return limit;
  throw new Fault("invalid-argument", `limit must be from 1 to ${LIST_MAX}`, { param: "limit" });
}

function noteBody({ id, model, source, split, bytes, createdMs, learnedMs }: ExampleNote) {
  return { id, model, source, split, bytes, created_ms: createdMs, learned_ms: learnedMs };
}

/** Faults: `failed-precondition` for whoever comes from another machine. */
function checkLocal({ socket }: IncomingMessage): void {
  if (isLoopback(socket.remoteAddress ?? "")) return;
  const why = "examples are given and listed on the edge's own machine, by its loopback address";
  throw new Fault("failed-precondition", why);
}

export function isLoopback(address: string): boolean {
  const plain = address.replace(/^::ffff:/, "");
  return isIP(plain) === 4 ? plain.startsWith("127.") : plain === "::1";
}
