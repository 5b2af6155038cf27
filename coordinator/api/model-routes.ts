// The operator's routes for models: publish and look.
import { Hono } from "hono";
import { z } from "zod";
import type { Catalogue } from "../catalogue/catalogue.ts";
import {
  adapterRefSchema,
  artifactRefSchema,
  type ModelRecord,
  modelNameSchema,
} from "../catalogue/model-record.ts";
import type { Fleet } from "../rollout/fleet.ts";
import { type RolloutProgress, rolloutProgress } from "../rollout/rollout-progress.ts";
import { readBody } from "./request-body.ts";

const ADAPTERS_MAX = 8;

const publishSchema = z.strictObject({
  model: modelNameSchema,
  base: artifactRefSchema,
  /** Public sets, kept with the model: what keeps the base from forgetting, and what proves it. */
  /** GGUF adapters to be served on the base. */
  adapters: z.array(adapterRefSchema).max(ADAPTERS_MAX).default([]),
  /** The model in full precision, which versions are merged into. */
  master: artifactRefSchema.optional(),
  replay: artifactRefSchema.optional(),
  heldout: artifactRefSchema.optional(),
});

/** How a model is told: its record, and how far what is served has come. */
export function modelView(fleet: Fleet) {
  return (model: ModelRecord) => ({ ...model, rollout: progressOf(model, fleet) });
}

export function modelRoutes(catalogue: Catalogue, fleet: Fleet): Hono {
  const view = modelView(fleet);
  const app = new Hono();
  app.get("/v1/models", (c) => c.json({ models: catalogue.models().map(view) }));
  app.get("/v1/models/:model", (c) => {
    const model = catalogue.model(c.req.param("model"));
    return c.json({ ...view(model), lineage: catalogue.versions(model.model) });
  });
  app.post("/v1/models", async (c) => {
    const body = await readBody(c, publishSchema);
    const { model, base, adapters, replay, heldout, master } = body;
    const { version, isNew } = catalogue.publish(
      { model, base, adapters, origin: { kind: "published" } },
      { ...(replay && { replay }), ...(heldout && { heldout }), ...(master && { master }) },
    );
    return c.json({ version: version.version }, isNew ? 201 : 200);
  });
  return app;
}

function progressOf({ model, served, trial }: ModelRecord, fleet: Fleet): RolloutProgress | null {
  if (served === null) return null;
  // Those that try another version are not on the way to this one.
  const others = fleet.edges().filter(({ region, edge }) => {
    return !(trial?.edges.includes(`${region}/${edge.edge}`) ?? false);
  });
  return rolloutProgress(model, served, others);
}
