// The operator's routes for models: publish, look, roll out, roll back.
import { Hono } from "hono";
import { z } from "zod";
import type { Catalogue } from "../catalogue/catalogue.ts";
import { artifactRefSchema, type ModelRecord, modelNameSchema } from "../catalogue/model-record.ts";
import type { Fleet } from "../rollout/fleet.ts";
import { type RolloutProgress, rolloutProgress } from "../rollout/rollout-progress.ts";
import { readBody } from "./request-body.ts";

const publishSchema = z.strictObject({
  model: modelNameSchema,
  base: artifactRefSchema,
  /** Public sets, kept with the model: what keeps the base from forgetting, and what proves it. */
  replay: artifactRefSchema.optional(),
  heldout: artifactRefSchema.optional(),
});

const rolloutSchema = z.strictObject({
  version: z.string().min(1).max(160),
  /** Serve it although it was rejected. */
  force: z.boolean().default(false),
});

export function modelRoutes(catalogue: Catalogue, fleet: Fleet): Hono {
  const view = (model: ModelRecord) => ({ ...model, rollout: progressOf(model, fleet) });
  const app = new Hono();
  app.get("/v1/models", (c) => c.json({ models: catalogue.models().map(view) }));
  app.get("/v1/models/:model", (c) => {
    const model = catalogue.model(c.req.param("model"));
    return c.json({ ...view(model), lineage: catalogue.versions(model.model) });
  });
  app.post("/v1/models", async (c) => {
    const { model, base, replay, heldout } = await readBody(c, publishSchema);
    const { version, isNew } = catalogue.publish(
      { model, base, origin: { kind: "published" } },
      { ...(replay && { replay }), ...(heldout && { heldout }) },
    );
    return c.json({ version: version.version }, isNew ? 201 : 200);
  });
  app.post("/v1/models/:model/rollout", async (c) => {
    const { version, force } = await readBody(c, rolloutSchema);
    const { model } = catalogue.model(c.req.param("model"));
    const named = version.includes("@") ? version : `${model}@${version}`;
    if (catalogue.version(named).model !== model) {
      return c.json({ error: otherModel(named, model) }, 400);
    }
    return c.json(view(catalogue.serve(named, "rollout", force)));
  });
  app.post("/v1/models/:model/rollback", async (c) => {
    await readBody(c, z.strictObject({}));
    return c.json(view(catalogue.rollback(c.req.param("model"))));
  });
  return app;
}

function progressOf(model: ModelRecord, fleet: Fleet): RolloutProgress | null {
  return model.served === null ? null : rolloutProgress(model.model, model.served, fleet.edges());
}

function otherModel(version: string, model: string) {
  return { code: "invalid-argument", message: `${version} isn't of ${model}`, param: "version" };
}
