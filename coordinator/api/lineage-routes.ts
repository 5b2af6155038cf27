// The operator's routes for what is in a version: its ancestry, a version without some edges, and
// one with its adapters merged into the weights.
import { Hono } from "hono";
import { z } from "zod";
import { artifactRefSchema, type VersionRecord } from "../catalogue/model-record.ts";
import { mergeVersion, quantizations } from "../merging/version-merge.ts";
import { ancestryOf, contributorsOf } from "../removal/ancestry.ts";
import { rebuildWithout, type VersionRemovalOptions } from "../removal/version-removal.ts";
import { readBody } from "./request-body.ts";
import { versionOf } from "./rollout-routes.ts";

const EDGES_MAX = 1_000;
const path = "/v1/models/:model/versions/:version";

const rebuildSchema = z.strictObject({
  /** `<region>/<edge>` */
  without: z
    .array(z.string().regex(/^[a-z0-9-]{1,63}\/[a-z0-9-]{1,63}$/))
    .min(1)
    .max(EDGES_MAX),
});

const mergeSchema = z.strictObject({
  quantization: z.enum(Object.keys(quantizations) as (keyof typeof quantizations)[]),
  /** Instead of the model's own, which is the base where there is none. */
  master: artifactRefSchema.optional(),
});

export interface LineageView {
  readonly version: VersionRecord;
  /** The rounds that led to it, oldest first. */
  readonly rounds: readonly VersionRecord[];
  /** Whose deltas are in it, and by which rounds. */
  readonly contributors: readonly { readonly edge: string; readonly rounds: readonly string[] }[];
  readonly without: readonly string[];
}

export function lineageRoutes(options: VersionRemovalOptions): Hono {
  const { catalogue } = options;
  const app = new Hono();
  app.get(`${path}/lineage`, (c) => {
    const id = versionOf(catalogue, c.req.param("model"), c.req.param("version"));
    const ancestry = ancestryOf(catalogue, id);
    const contributors = [...contributorsOf(ancestry)].map(([edge, rounds]) => ({ edge, rounds }));
    const view: LineageView = {
      version: catalogue.version(id),
      rounds: ancestry.rounds.map(({ record }) => record),
      contributors,
      without: ancestry.without,
    };
    return c.json(view);
  });
  app.post(`${path}/rebuild`, async (c) => {
    const id = versionOf(catalogue, c.req.param("model"), c.req.param("version"));
    const { without } = await readBody(c, rebuildSchema);
    return c.json(await rebuildWithout(id, without, options), 201);
  });
  app.post(`${path}/merge`, async (c) => {
    const id = versionOf(catalogue, c.req.param("model"), c.req.param("version"));
    const { quantization, master = null } = await readBody(c, mergeSchema);
    return c.json(await mergeVersion(id, { quantization, master }, options), 201);
  });
  return app;
}
