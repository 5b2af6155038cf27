// The operator's routes for what is out there: regions, edges, and the whole at a glance.
import { toJson } from "@bufbuild/protobuf";
import { Hono } from "hono";
import { EdgeSummarySchema, RegionSummarySchema } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { Catalogue } from "../catalogue/catalogue.ts";
import type { Fleet } from "../rollout/fleet.ts";
import { rolloutProgress } from "../rollout/rollout-progress.ts";
import type { Campaigns } from "../rounds/campaigns.ts";
import type { Schedules } from "../rounds/schedule/schedules.ts";

export interface FleetRoutesOptions {
  readonly fleet: Fleet;
  readonly catalogue: Catalogue;
  readonly campaigns: Campaigns;
  readonly schedules: Schedules;
  /** State of the link to NATS, and records that the bucket doesn't have yet. */
  readonly links: () => { readonly nats: string; readonly recordsWaiting: number };
}

export function fleetRoutes(options: FleetRoutesOptions): Hono {
  const { fleet, catalogue, campaigns, schedules } = options;
  const app = new Hono();
  app.get("/v1/edges", (c) => {
    const edges = fleet.edges().map(({ region, edge, alive }) => ({
      region,
      alive,
      ...(toJson(EdgeSummarySchema, edge, { alwaysEmitImplicit: true }) as object),
    }));
    return c.json({ edges });
  });
  app.get("/v1/regions", (c) => {
    const regions = fleet.regions().map(({ summary, reachable, heardMs }) => ({
      reachable,
      heardMs,
      ...(toJson(RegionSummarySchema, summary, { alwaysEmitImplicit: true }) as object),
    }));
    return c.json({ regions });
  });
  app.get("/v1/status", (c) => {
    const edges = fleet.edges();
    return c.json({
      ...options.links(),
      desiredRevision: Number(catalogue.desired().revision),
      regions: fleet.regions().map(({ summary, reachable, heardMs }) => {
        const mine = edges.filter(({ region }) => region === summary.region);
        const alive = mine.filter((edge) => edge.alive).length;
        const { region, http, grpc } = summary;
        return { region, reachable, heardMs, http, grpc, edges: mine.length, alive };
      }),
      models: catalogue.models().map(({ model, served, versions }) => {
        const rollout = served === null ? null : rolloutProgress(model, served, edges);
        return { model, served, versions, rollout };
      }),
      campaigns: campaigns.open().map(({ id, model, phase, round, rounds }) => {
        return { id, model, phase, rounds, round: round?.number, roundPhase: round?.phase };
      }),
      suggestions: schedules.suggestions(),
    });
  });
  return app;
}
