// The routes that every role has for whoever watches it: alive, ready, metrics.
import { Hono } from "hono";
import type { Metrics } from "../metrics.ts";

export interface SystemRoutesOptions {
  /** Null when the role can do its work; otherwise why not. */
  readonly ready: () => string | null;
  readonly metrics: Metrics;
}

export function systemRoutes({ ready, metrics }: SystemRoutesOptions): Hono {
  const app = new Hono();
  app.get("/healthz", (c) => c.json({ ok: true }));
  app.get("/readyz", (c) => {
    const reason = ready();
    return reason === null ? c.json({ ready: true }) : c.json({ ready: false, reason }, 503);
  });
  app.get("/metrics", async (c) =>
    c.body(await metrics.text(), 200, { "content-type": metrics.registry.contentType }),
  );
  return app;
}
