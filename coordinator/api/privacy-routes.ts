// The operator's routes for a model's privacy: what its rounds have cost, and what they may cost.
import { Hono } from "hono";
import { z } from "zod";
import type { RoundPrivacy } from "../privacy/round-privacy.ts";
import { readBody } from "./request-body.ts";

const budgetSchema = z.strictObject({
  epsilon: z.number().positive().max(1e6),
  /** Left out: what the model has, or the default. */
  delta: z.number().gt(0).max(0.1).optional(),
});

export function privacyRoutes(privacy: RoundPrivacy): Hono {
  const app = new Hono();
  app.get("/v1/models/:model/privacy", (c) => c.json(privacy.account(c.req.param("model"))));
  app.put("/v1/models/:model/privacy", async (c) => {
    const { epsilon, delta } = await readBody(c, budgetSchema);
    const before = privacy.account(c.req.param("model"));
    privacy.ledger.setBudget(before.model, { epsilon, delta: delta ?? before.delta });
    return c.json(privacy.account(before.model));
  });
  return app;
}
