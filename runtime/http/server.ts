// The HTTP server of a role: a hono app behind node:http, with bounds against slow and idle peers.
import type { Server } from "node:http";
import { createAdaptorServer } from "@hono/node-server";
import { Hono } from "hono";
import type { Fault } from "../../proto/fault.ts";
import { asFault } from "../../proto/fault.ts";
import { systemClock } from "../clock.ts";
import type { Log } from "../log.ts";

export interface HttpServerOptions {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly app: Hono;
  readonly log: Log;
}

export interface HttpServer {
  readonly port: number;
  /** Takes no more connections, lets open answers finish for `graceMs` (default 0), then ends. */
  stop(graceMs?: number): Promise<void>;
}

/**
 * A peer that dribbles its headers is gone after at most their sum. Headers that arrived while this
 * process stood still count as late too, and are then answered with a 408: hence seconds.
 */
const HEADERS_TIMEOUT_MS = 5000;
const CHECK_INTERVAL_MS = 500;
/** Longest that one request's body may take to arrive; artifacts are large. */
const REQUEST_TIMEOUT_MS = 10 * 60_000;
const KEEP_ALIVE_MS = 30_000;
const HEADER_BYTES_MAX = 16 << 10;
const CONNECTIONS_MAX = 10_000;

/**
 * Starts to listen. What no route of `app` handles gets a JSON 404; what a route throws gets the
 * status of its Fault, or 500. Faults: rejects when the port is taken.
 */
export async function startHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  const { host, port, app, log } = options;
  const root = new Hono();
  root.route("/", app);
  root.notFound((c) =>
    c.json(errorBody(`Unknown request URL: ${c.req.method} ${c.req.path}`, "unknown_url"), 404),
  );
  root.onError((thrown) => {
    const fault = asFault(thrown);
    if (fault.code === "internal") log.error({ err: thrown }, "a route failed");
    return faultResponse(fault);
  });
  const server = createAdaptorServer({
    fetch: root.fetch,
    serverOptions: {
      headersTimeout: HEADERS_TIMEOUT_MS,
      connectionsCheckingInterval: CHECK_INTERVAL_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      keepAliveTimeout: KEEP_ALIVE_MS,
      maxHeaderSize: HEADER_BYTES_MAX,
      noDelay: true,
    },
  }) as Server;
  server.maxConnections = CONNECTIONS_MAX;
  const boundPort = await listen(server, host, port);
  log.info({ host, port: boundPort }, "HTTP listens");
  return { port: boundPort, stop: (graceMs = 0) => close(server, graceMs) };
}

/** The answer that tells a fault over plain HTTP, in the error shape that all our routes use. */
export function faultResponse(fault: Fault): Response {
  const message = fault.code === "internal" ? "Internal error" : fault.message;
  const headers: Record<string, string> = {};
  if (fault.retryAfterMs > 0) {
    headers["retry-after"] = String(Math.max(1, Math.ceil(fault.retryAfterMs / 1000)));
  }
  return Response.json(errorBody(message, fault.code, fault.param), {
    status: fault.kind.http,
    headers,
  });
}

function errorBody(message: string, code: string, param = "") {
  return {
    error: { message, type: "invalid_request_error", param: param === "" ? null : param, code },
  };
}

function listen(server: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", (error) =>
      reject(new Error(`HTTP can't listen on ${host}:${port}: ${error.message}`)),
    );
    server.listen(port, host, () => {
      const address = server.address();
      if (address === null || typeof address === "string") throw new TypeError("no TCP address");
      resolve(address.port);
    });
  });
}

function close(server: Server, graceMs: number): Promise<void> {
  return new Promise((resolve) => {
    const force = systemClock.after(graceMs, () => server.closeAllConnections());
    // Connections that finish their answer now would stay open for their keep-alive.
    const reap = systemClock.every(CHECK_INTERVAL_MS, () => server.closeIdleConnections());
    server.close(() => {
      force.cancel();
      reap.cancel();
      resolve();
    });
    server.closeIdleConnections();
  });
}
