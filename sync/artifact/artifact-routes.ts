// GET and HEAD /v1/artifacts/<sha256>: whole or by range; what isn't here is pulled first when a
// pull is given, once for however many ask.
import { Readable } from "node:stream";
import { type Context, Hono } from "hono";
import { Fault } from "../../proto/fault.ts";
import { type Sha256, sha256Pattern } from "../../proto/ids.ts";
import { type Clock, systemClock } from "../../runtime/clock.ts";
import type { ArtifactStore } from "./artifact-store.ts";
import { parseRange } from "./byte-range.ts";

/** Longest that a caller waits for a pull before it is told to come again. */
const PULL_WAIT_MS = 2_000;
/** Pulls on behalf of callers at the same time; others are told to come again. */
const PULLS_MAX = 8;

export interface ArtifactRoutesOptions {
  /** Brings an artifact into the store. Faults: `not-found` when nobody has it. */
  readonly pull?: (sha256: Sha256) => Promise<unknown>;
  readonly clock?: Clock;
}

export function artifactRoutes(store: ArtifactStore, options: ArtifactRoutesOptions = {}): Hono {
  const pulls = new PullThrough(options);
  const app = new Hono();
  // Hono answers HEAD by the GET route and drops the body, which it would read from disk first.
  app.on(["GET", "HEAD"], "/v1/artifacts/:sha256", async (c) => {
    const name = c.req.param("sha256");
    if (!sha256Pattern.test(name)) throw badName();
    const sha256 = name as Sha256;
    const release = store.pin(sha256);
    try {
      if (!store.has(sha256)) await pulls.fetch(sha256);
      return serve(c, store, sha256);
    } finally {
      release();
    }
  });
  return app;
}

export function badName(): Fault {
  return new Fault("invalid-argument", "an artifact is named by its lower-case hex SHA-256", {
    param: "sha256",
  });
}

function serve(c: Context, store: ArtifactStore, sha256: Sha256): Response {
  const size = store.size(sha256);
  if (size === undefined) throw new Fault("not-found", `artifact ${sha256} is not here`);
  const etag = `"${sha256}"`;
  const headers: Record<string, string> = {
    etag,
    "accept-ranges": "bytes",
    "content-type": "application/octet-stream",
    "cache-control": "public, max-age=31536000, immutable",
  };
  if (c.req.header("if-none-match") === etag) return new Response(null, { status: 304, headers });
  const condition = c.req.header("if-range");
  const wanted = condition === undefined || condition === etag ? c.req.header("range") : undefined;
  const range = parseRange(wanted, size);
  if (range === "unsatisfiable") {
    headers["content-range"] = `bytes */${size}`;
    return new Response(null, { status: 416, headers });
  }
  const { start, end } = range === "whole" ? { start: 0, end: size - 1 } : range;
  headers["content-length"] = String(end - start + 1);
  if (range !== "whole") headers["content-range"] = `bytes ${start}-${end}/${size}`;
  const status = range === "whole" ? 200 : 206;
  if (c.req.method === "HEAD" || size === 0) return new Response(null, { status, headers });
  const body = Readable.toWeb(store.open(sha256, { start, end })) as ReadableStream<Uint8Array>;
  return new Response(body, { status, headers });
}

/** One pull for each artifact, however many wait for it. */
class PullThrough {
  readonly #options: ArtifactRoutesOptions;
  readonly #running = new Map<Sha256, Promise<unknown>>();

  constructor(options: ArtifactRoutesOptions) {
    this.#options = options;
  }

  /** Faults: `not-found`, `unavailable` with retryAfterMs while the pull goes on. */
  async fetch(sha256: Sha256): Promise<void> {
    const clock = this.#options.clock ?? systemClock;
    const come = Promise.withResolvers<"later">();
    const timer = clock.after(PULL_WAIT_MS, () => come.resolve("later"));
    try {
      const ended = await Promise.race([this.#pull(sha256), come.promise]);
      if (ended === "later") throw comeAgain(sha256);
    } finally {
      timer.cancel();
    }
  }

  #pull(sha256: Sha256): Promise<unknown> {
    const running = this.#running.get(sha256);
    if (running !== undefined) return running;
    const { pull } = this.#options;
    if (pull === undefined) throw new Fault("not-found", `artifact ${sha256} is not here`);
    if (this.#running.size >= PULLS_MAX) throw comeAgain(sha256);
    const started = pull(sha256).finally(() => this.#running.delete(sha256));
    // Those who wait hear of a failure; when all were told to come again, the next one will.
    started.catch(() => undefined);
    this.#running.set(sha256, started);
    return started;
  }
}

function comeAgain(sha256: Sha256): Fault {
  return new Fault("unavailable", `artifact ${sha256} is being fetched`, { retryAfterMs: 1_000 });
}
