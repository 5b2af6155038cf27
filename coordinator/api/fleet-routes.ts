// The operator's routes for what is out there: regions, edges, and the whole at a glance.
import { toJson } from "@bufbuild/protobuf";
import { Hono } from "hono";
import { EdgeSummarySchema, RegionSummarySchema } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { Catalogue } from "../catalogue/catalogue.ts";
import type { Fleet } from "../rollout/fleet.ts";
import { type RolloutProgress, rolloutProgress } from "../rollout/rollout-progress.ts";
import type { Campaigns } from "../rounds/campaigns.ts";
import type { RoundSuggestion, Schedules } from "../rounds/schedule/schedules.ts";

/** The mesh at a glance: what `/v1/status` tells. */
export interface StatusView {
  readonly nats: string;
  /** That the bucket doesn't have yet. */
  readonly recordsWaiting: number;
  readonly desiredRevision: number;
  readonly regions: readonly RegionGlance[];
  readonly models: readonly {
    readonly model: string;
    readonly served: string | null;
    readonly versions: number;
    readonly rollout: RolloutProgress | null;
  }[];
  /** Those under way. */
  readonly campaigns: readonly {
    readonly id: string;
    readonly model: string;
    readonly phase: string;
    readonly rounds: number;
    readonly round: number | undefined;
    readonly roundPhase: string | undefined;
  }[];
  readonly suggestions: readonly RoundSuggestion[];
}

interface RegionGlance {
  readonly region: string;
  readonly reachable: boolean;
  /** Unix milliseconds. */
  readonly heardMs: number;
  readonly http: string;
  readonly grpc: string;
  /** Edges known, and how many of them live. */
  readonly edges: number;
  readonly alive: number;
}

export interface FleetRoutesOptions {
  readonly fleet: Fleet;
  readonly catalogue: Catalogue;
  readonly campaigns: Campaigns;
  readonly schedules: Schedules;
  /** State of the link to NATS, and records that the bucket doesn't have yet. */
  readonly links: () => { readonly nats: string; readonly recordsWaiting: number };
}

export function fleetRoutes(options: FleetRoutesOptions): Hono {
  const { fleet } = options;
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
  app.get("/v1/status", (c) => c.json(statusView(options)));
  return app;
}

function statusView({ fleet, catalogue, campaigns, schedules, links }: FleetRoutesOptions) {
  const edges = fleet.edges();
  const view: StatusView = {
    ...links(),
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
  };
  return view;
}
