// The operator's routes for a version's way to the edges: by gate, canaries and waves, or at once;
// back again; and how it goes.
import { Hono } from "hono";
import { z } from "zod";
import { Fault } from "../../proto/fault.ts";
import type { Catalogue } from "../catalogue/catalogue.ts";
import type { ModelRecord } from "../catalogue/model-record.ts";
import type { RolloutState } from "../rollout/rollout-state.ts";
import type { Rollouts } from "../rollout/rollouts.ts";
import type { VersionSums } from "../rollout/version-sums.ts";
import { gatePlanSchema } from "../rounds/plan/gate-plan.ts";
import { readBody } from "./request-body.ts";

const versionSchema = z.string().min(1).max(160);

const rolloutSchema = z.strictObject({
  version: versionSchema,
  /** Serve it although it was rejected. */
  force: z.boolean().default(false),
});

const promoteSchema = z.strictObject({
  version: versionSchema,
  /** Let callers try it although it was rejected, or without the gate. */
  force: z.boolean().default(false),
  gate: gatePlanSchema.prefault({}),
});

/** A model's last rollout, and how both versions do with callers. */
export interface RolloutView {
  readonly rollout: RolloutState | null;
  readonly health: Readonly<Record<string, VersionSums>>;
}

export interface RolloutRoutesOptions {
  readonly catalogue: Catalogue;
  readonly rollouts: Rollouts;
  /** How a model is told. */
  readonly view: (model: ModelRecord) => object;
}

export function rolloutRoutes({ catalogue, rollouts, view }: RolloutRoutesOptions): Hono {
  const app = new Hono();
  app.post("/v1/models/:model/rollout", async (c) => {
    const { version, force } = await readBody(c, rolloutSchema);
    const named = versionOf(catalogue, c.req.param("model"), version);
    refuseRejected(catalogue, named, force);
    const { model } = catalogue.version(named);
    rollouts.supersede(model, named);
    return c.json(view(catalogue.serve(named, "rollout", force)));
  });
  app.post("/v1/models/:model/promote", async (c) => {
    const { version, force, gate: plan } = await readBody(c, promoteSchema);
    const named = versionOf(catalogue, c.req.param("model"), version);
    refuseRejected(catalogue, named, force);
    const order = { version: named, why: "promote", plan, skipGate: force } as const;
    return c.json(rollouts.start(order), 202);
  });
  app.post("/v1/models/:model/rollback", async (c) => {
    await readBody(c, z.strictObject({}));
    return c.json(view(rollouts.rollBack(catalogue.model(c.req.param("model")).model)));
  });
  app.get("/v1/models/:model/rollout", (c) => {
    const { model } = catalogue.model(c.req.param("model"));
    const rollout = rollouts.of(model) ?? null;
    const versions = rollout === null ? [] : [rollout.version, rollout.incumbent];
    const health = Object.fromEntries(versions.map((one) => [one, rollouts.healthOf(one)]));
    return c.json({ rollout, health } satisfies RolloutView);
  });
  return app;
}

/** The whole name of a version given as that or as its number. Faults: `invalid-argument`. */
export function versionOf(catalogue: Catalogue, name: string, version: string): string {
  const { model } = catalogue.model(name);
  const named = version.includes("@") ? version : `${model}@${version}`;
  if (catalogue.version(named).model === model) return named;
  throw new Fault("invalid-argument", `${named} isn't of ${model}`, { param: "version" });
}

/** Faults: `conflict`. */
function refuseRejected(catalogue: Catalogue, version: string, force: boolean): void {
  const { verdict, reason } = catalogue.version(version);
  if (verdict !== "rejected" || force) return;
  throw new Fault("conflict", `${version} was rejected: ${reason}`, { param: "version" });
}
