// The operator's routes for rounds that start by themselves, and for those that drift suggests.
import { Hono } from "hono";
import { scheduleRequestSchema } from "../rounds/schedule/schedule-record.ts";
import type { Schedules } from "../rounds/schedule/schedules.ts";
import { readBody } from "./request-body.ts";

export function scheduleRoutes(schedules: Schedules): Hono {
  const app = new Hono();
  app.get("/v1/schedules", (c) => {
    return c.json({ schedules: schedules.list(), suggestions: schedules.suggestions() });
  });
  app.get("/v1/schedules/:model", (c) => c.json(schedules.get(c.req.param("model"))));
  app.put("/v1/schedules/:model", async (c) => {
    const wanted = await readBody(c, scheduleRequestSchema);
    return c.json(schedules.set(c.req.param("model"), wanted));
  });
  app.delete("/v1/schedules/:model", (c) => c.json(schedules.remove(c.req.param("model"))));
  return app;
}
