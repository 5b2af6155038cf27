// What scaling tells over HTTP: made for KEDA's metrics-api scaler, and for people who ask why.
import { Hono } from "hono";
import { Fault } from "../../proto/fault.ts";
import type { ModelScaling, RegionScaling } from "./region-scaling.ts";

/**
 * GET /v1/scaling: every model, and in `replicas` the most that one of them needs, for edges that
 * serve all of them. GET /v1/scaling/{model}: one. Both answer 503 while this gateway can't know,
 * so that whoever asks keeps what there is.
 */
export function scalingRoutes(region: string, scaling: RegionScaling): Hono {
  const app = new Hono();
  app.get("/v1/scaling", (c) => {
    const models = settled(scaling).models().map(rowOf);
    const replicas = Math.max(0, ...models.map((row) => row.replicas));
    return c.json({ region, replicas, models });
  });
  app.get("/v1/scaling/:model", (c) => {
    const name = c.req.param("model");
    const found = settled(scaling)
      .models()
      .find(({ model }) => model === name);
    if (found !== undefined) return c.json({ region, ...rowOf(found) });
    const message = `this region neither has the model ${name} nor should have it`;
    throw new Fault("not-found", message, { param: "model" });
  });
  return app;
}

function settled(scaling: RegionScaling): RegionScaling {
  const { unsettled } = scaling;
  if (unsettled === null) return scaling;
  throw new Fault("unavailable", unsettled);
}

function rowOf({ model, facts, decision }: ModelScaling) {
  const { ready, stored, starting, active, queued, held } = facts;
  return {
    model,
    replicas: decision.replicas,
    reason: decision.reason,
    edges: { ready, stored, starting },
    requests: { active, queued, held },
    terms: decision.terms,
  };
}
