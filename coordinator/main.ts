// The coordinator's process: puts its parts together and runs them.
import { join } from "node:path";
import { Hono } from "hono";
import { readConfig } from "../runtime/config.ts";
import { startGrpcServer } from "../runtime/grpc/server.ts";
import { startHttpServer } from "../runtime/http/server.ts";
import { systemRoutes } from "../runtime/http/system-routes.ts";
import { openNats } from "../runtime/nats/connection.ts";
import { type RoleAddresses, type RoleScope, runRole } from "../runtime/role.ts";
import { artifactRoutes } from "../sync/artifact/artifact-routes.ts";
import { createArtifactStore } from "../sync/artifact/artifact-store.ts";
import { putRoutes } from "../sync/artifact/put-routes.ts";
import { campaignRoutes } from "./api/campaign-routes.ts";
import { drainRoutes } from "./api/drain-routes.ts";
import { fleetRoutes } from "./api/fleet-routes.ts";
import { lineageRoutes } from "./api/lineage-routes.ts";
import { modelRoutes, modelView } from "./api/model-routes.ts";
import { privacyRoutes } from "./api/privacy-routes.ts";
import { quarantineRoutes } from "./api/quarantine-routes.ts";
import { rolloutRoutes } from "./api/rollout-routes.ts";
import { scheduleRoutes } from "./api/schedule-routes.ts";
import { Catalogue } from "./catalogue/catalogue.ts";
import { publishDesired } from "./catalogue/desired-publisher.ts";
import { type CoordinatorConfig, coordinatorConfigSchema } from "./config.ts";
import { registerMetrics } from "./coordinator-metrics.ts";
import { KvReplica } from "./records/kv-replica.ts";
import { RecordStore } from "./records/record-store.ts";
import { Fleet } from "./rollout/fleet.ts";
import { Rollouts } from "./rollout/rollouts.ts";
import { Campaigns } from "./rounds/campaigns.ts";
import { Schedules } from "./rounds/schedule/schedules.ts";

const BUCKET = "isthmus";

const config = readConfig(coordinatorConfigSchema);
runRole({ role: "coordinator", name: config.name, start: (scope) => start(config, scope) });

async function start(config: CoordinatorConfig, scope: RoleScope): Promise<RoleAddresses> {
  const { log, metrics, clock } = scope;
  const nats = openNats({
    servers: config.nats,
    name: `coordinator ${config.name}`,
    clock,
    onState: (state, detail) => log.info({ state, detail }, "NATS"),
    onError: (error) => log.warn({ err: error }, "NATS"),
  });
  scope.onStop(() => nats.close());
  const records = new RecordStore(join(config.dir, "records.log"));
  scope.onStop(() => records.close());
  const wasEmpty = records.isEmpty;
  const open = () => nats.kv(config.natsDomain, BUCKET, { history: 1 });
  const replica = new KvReplica({ store: records, open, clock, log });
  scope.onStop(() => replica.stop());
  // Without a memory of its own it must first know what the bucket remembers.
  if (wasEmpty) await replica.reconciled;

  const dir = join(config.dir, "artifacts");
  const artifacts = createArtifactStore({ dir, maxBytes: config.artifactBytesMax });
  const catalogue = new Catalogue({ records, artifacts, clock });
  const fleet = new Fleet(clock);
  scope.onStop(fleet.listen(nats));
  const { regions } = config;
  const rollouts = new Rollouts({ records, catalogue, fleet, nats, clock, log });
  scope.onStop(() => rollouts.close());
  const tools = { records, artifacts, catalogue, fleet, rollouts, nats, clock, log };
  const parts = { ...tools, dir: config.dir };
  const campaigns = new Campaigns({ ...parts, regions });
  scope.onStop(() => campaigns.close());
  const schedules = new Schedules({ records, catalogue, campaigns, fleet, clock, log });
  scope.onStop(() => schedules.close());
  scope.onStop(publishDesired({ catalogue, records, nats, clock }));
  scope.onStop(registerMetrics({ metrics, fleet, campaigns, replica, clock }));

  const app = new Hono();
  const ready = () => (nats.state === "up" ? null : `the NATS link is ${nats.state}`);
  app.route("/", systemRoutes({ ready, metrics }));
  app.route("/", artifactRoutes(artifacts));
  app.route("/", putRoutes(artifacts, { maxBytes: config.uploadBytesMax }));
  app.route("/", modelRoutes(catalogue, fleet));
  const view = modelView(fleet);
  app.route("/", rolloutRoutes({ catalogue, rollouts, view }));
  app.route("/", lineageRoutes({ ...parts, campaigns, privacy: campaigns.privacy }));
  app.route("/", campaignRoutes(campaigns, schedules, clock));
  app.route("/", scheduleRoutes(schedules));
  app.route("/", quarantineRoutes(campaigns, fleet));
  app.route("/", privacyRoutes(campaigns.privacy));
  const links = () => ({ nats: nats.state, recordsWaiting: replica.lag });
  app.route("/", fleetRoutes({ fleet, catalogue, campaigns, schedules, links }));
  app.route("/", drainRoutes(fleet, nats));
  const http = await startHttpServer({ ...config.http, app, log });
  scope.onStop(() => http.stop());
  const addresses = { http: `http://${config.http.host}:${http.port}` };
  if (config.grpc === undefined) return addresses;
  const grpc = await startGrpcServer({ ...config.grpc, services: [], log });
  scope.onStop(() => grpc.stop());
  return { ...addresses, grpc: `${config.grpc.host}:${grpc.port}` };
}
