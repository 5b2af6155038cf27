// A region's process: gateway for callers, home of its edges, relay between them and the centre.
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { Hono } from "hono";
import { RegionLabelsSchema, type RegionSummary } from "../proto/gen/isthmus/v1/mesh_pb.ts";
import type { Sha256 } from "../proto/ids.ts";
import { subjects } from "../proto/subjects.ts";
import { readConfig } from "../runtime/config.ts";
import { discoveryService } from "../runtime/frontend/discovery.ts";
import { feedbackRoutes } from "../runtime/frontend/feedback/feedback-routes.ts";
import { feedbackService } from "../runtime/frontend/feedback/grpc-feedback.ts";
import { openAiRoutes } from "../runtime/frontend/openai/routes.ts";
import { startGrpcServer } from "../runtime/grpc/server.ts";
import { startHttpServer } from "../runtime/http/server.ts";
import { systemRoutes } from "../runtime/http/system-routes.ts";
import { type NatsLink, openNats } from "../runtime/nats/connection.ts";
import { systemRandom } from "../runtime/random.ts";
import { type RoleAddresses, type RoleScope, runRole } from "../runtime/role.ts";
import { createTrunk } from "../runtime/trunk/client.ts";
import { trunkService } from "../runtime/trunk/server.ts";
import { pullArtifact } from "../sync/artifact/artifact-pull.ts";
import { artifactRoutes } from "../sync/artifact/artifact-routes.ts";
import { type ArtifactStore, createArtifactStore } from "../sync/artifact/artifact-store.ts";
import { type RegionConfig, regionConfigSchema } from "./config.ts";
import { type DesiredRelay, startDesiredRelay } from "./desired/desired-relay.ts";
import { DesiredVault } from "./desired/desired-vault.ts";
import { DriftWatch } from "./drift/drift-watch.ts";
import { createFeedbackRelay } from "./feedback/feedback-relay.ts";
import { noting, ServedCompletions } from "./feedback/served-completions.ts";
import { createGateway, type Gateway } from "./gateway/gateway.ts";
import { gatewayInferenceService } from "./gateway/gateway-inference.ts";
import { regionRoutes } from "./gateway/region-routes.ts";
import { summarize } from "./gateway/region-summary.ts";
import { publishSummaries } from "./gateway/summary-publisher.ts";
import { topologyOf } from "./gateway/topology.ts";
import { EdgeRegistry } from "./membership/edge-registry.ts";
import { roundMembers } from "./membership/round-members.ts";
import { retentionDefaults } from "./round/delta-retention.ts";
import { createRegionRounds, type RegionRounds } from "./round/region-rounds.ts";
import { roundRoutes } from "./round/round-routes.ts";
import { RegionScaling } from "./scaling/region-scaling.ts";
import { scalingRoutes } from "./scaling/scaling-routes.ts";
import { createSessions, type Sessions } from "./session/sessions.ts";
import { PeerRegistry } from "./spill/peer-registry.ts";

/** Streams under way get this long to end when the region stops. */
const STOP_GRACE_MS = 1000;
const DAY_MS = 86_400_000;

interface Region {
  readonly config: RegionConfig;
  readonly role: RoleScope;
  readonly nats: NatsLink;
  readonly edges: EdgeRegistry;
  readonly peers: PeerRegistry;
  readonly gateway: Gateway;
  readonly sessions: Sessions;
  readonly drift: DriftWatch;
  readonly scaling: RegionScaling;
  readonly store: ArtifactStore;
  /** Filled in once the servers listen. */
  readonly addresses: { http: string; grpc: string };
}

const config = readConfig(regionConfigSchema);

runRole({
  role: "region",
  name: config.name,
  labels: { region: config.name },
  start: (role) => startRegion(config, role),
});

async function startRegion(config: RegionConfig, role: RoleScope): Promise<RoleAddresses> {
  const region = assemble(config, role);
  const relay = await startDesiredRelay({
    region: config.name,
    nats: region.nats,
    vault: new DesiredVault({
      path: join(config.dir, "desired.json"),
      nats: region.nats,
      domain: config.natsDomain ?? config.name,
      log: role.log,
    }),
    clock: role.clock,
    log: role.log,
  });
  role.onStop(() => relay.stop());
  region.scaling.start(() => relay.desired);
  const rounds = await startRounds(region);
  const summary = summaries(region, relay);
  await listen(region, rounds, summary);
  takeMessages(region);
  const { name } = config;
  const { nats, edges } = region;
  role.onStop(publishSummaries({ region: name, nats, clock: role.clock, edges, summary }));
  return region.addresses;
}

/** Everything that needs no address of its own yet. Parts stop in reverse order. */
function assemble(config: RegionConfig, role: RoleScope): Region {
  const { name } = config;
  const { log, metrics, clock } = role;
  const nats = openNats({
    servers: config.nats,
    name: `region ${name}`,
    onState: (state, detail) => log.info({ state, detail }, "NATS"),
    onError: (error) => log.warn({ err: error }, "NATS"),
  });
  role.onStop(() => nats.close());
  const hello = { peer: name, role: "region", region: name };
  const openTrunk = (address: string) => createTrunk({ address, hello, clock, log });
  const { labels, policies } = config;
  const edges = new EdgeRegistry({ region: name, clock, log, openTrunk, labels });
  role.onStop(() => edges.close());
  const peers = new PeerRegistry({ region: name, clock, log, openTrunk, peers: config.peers });
  role.onStop(() => peers.close());
  const store = createArtifactStore({ dir: join(config.dir, "artifacts") });
  const { inFlightMax, instance = "a" } = config;
  const scaling = new RegionScaling({
    ...{ region: name, instance, config: config.scaling, edges, nats, clock, log, metrics },
  });
  role.onStop(() => scaling.stop());
  const gateway = createGateway({
    ...{ region: name, edges, peers, clock, random: systemRandom, log, metrics },
    ...{ inFlightMax, policies, scaling },
  });
  const drift = new DriftWatch({ log, metrics });
  edges.onChange(({ kind, member }) => {
    if (kind === "removed" || kind === "replaced") drift.forget(member.edge);
  });
  const sessions = createSessions({
    ...{ region: name, domain: config.natsDomain ?? name, nats, clock, log, metrics },
    jurisdictions: config.labels.jurisdictions,
    ...{ backend: gateway, policies },
    peers: () => peers.standings(),
  });
  role.onStop(() => sessions.stop());
  const addresses = { http: "", grpc: "" };
  return { config, role, nats, edges, peers, sessions, drift, scaling, gateway, store, addresses };
}

async function startRounds(region: Region): Promise<RegionRounds> {
  const { config, role, nats, edges, store } = region;
  const { clock, log, metrics } = role;
  const rounds = await createRegionRounds({
    region: config.name,
    dir: join(config.dir, "rounds"),
    nats,
    members: () => roundMembers(edges.members()),
    store,
    fetchArtifact: ({ sha256, bytes }) =>
      pull(region, { sha256: sha256 as Sha256, bytes: Number(bytes) }),
    http: () => region.addresses.http,
    kept: {
      ...retentionDefaults,
      ageMaxMs: config.deltas.keepDays * DAY_MS,
      bytesMax: config.deltas.keepBytes,
    },
    clock,
    log,
    metrics,
  });
  role.onStop(() => rounds.stop());
  return rounds;
}

/** Brings an artifact here from the coordinator. */
function pull(region: Region, target: { sha256: Sha256; bytes: number }): Promise<string> {
  const { config, role, store } = region;
  const { signal, clock } = role;
  return pullArtifact(target, [config.coordinator.http], store, { signal, clock });
}

function summaries({ addresses, config, drift, edges, peers, role }: Region, relay: DesiredRelay) {
  const labels = create(RegionLabelsSchema, config.labels);
  const incarnation = BigInt(role.clock.now());
  let sequence = 0n;
  return (): RegionSummary => {
    sequence += 1n;
    const identity = { region: config.name, incarnation, ...addresses };
    const { revision = 0n, trials = [] } = relay.desired ?? {};
    const trying = trials.flatMap((trial) => trial.edges.map((name) => name.split("/")));
    const mine = trying.flatMap(([at, edge]) => (at === config.name && edge ? [edge] : []));
    const summary = summarize(identity, sequence, edges, revision, mine);
    drift.tellIn(summary);
    return { ...summary, labels, rttMs: peers.rtts() };
  };
}

async function listen(
  region: Region,
  rounds: RegionRounds,
  summary: () => RegionSummary,
): Promise<void> {
  const { config, role, sessions, peers, edges, store, addresses } = region;
  const { log, metrics, clock } = role;
  const served = new ServedCompletions(clock);
  const backend = noting(sessions.backend, served);
  const frontend = { backend, log, metrics, clock };
  const feedback = createFeedbackRelay({
    region: config.name,
    served,
    edgeAddress: (edge) => edges.member(edge)?.heartbeat.grpc,
    regionAddress: (region) => peers.get(region)?.grpc,
    clock,
  });
  const app = new Hono();
  app.route("/", systemRoutes({ ready: () => notReady(region), metrics }));
  app.route("/", openAiRoutes(frontend) as unknown as Hono);
  app.route("/", feedbackRoutes({ port: feedback, log, clock }) as unknown as Hono);
  const inputs = { region: config.name, edges, peers, random: systemRandom };
  app.route(
    "/",
    regionRoutes({ summary, inputs, clock, policies: config.policies }) as unknown as Hono,
  );
  const cache = { pull: (sha256: Sha256) => pull(region, { sha256, bytes: 0 }), clock };
  app.route("/", artifactRoutes(store, cache));
  app.route("/", sessions.routes);
  app.route("/", scalingRoutes(config.name, region.scaling));
  app.route("/", roundRoutes(() => rounds, { region: config.name, http: () => addresses.http }));
  const services = [
    gatewayInferenceService(frontend),
    discoveryService(() => topologyOf(summary(), peers)),
    trunkService(backend, { clock, log }),
    feedbackService(feedback),
  ];
  const grpc = await startGrpcServer({ ...config.grpc, services, log });
  role.onStop(() => grpc.stop(STOP_GRACE_MS));
  const { advertise } = config;
  addresses.grpc = advertise.grpc ?? `${config.grpc.host}:${grpc.port}`;
  const http = await startHttpServer({ ...config.http, app, log });
  role.onStop(() => http.stop(STOP_GRACE_MS));
  addresses.http = advertise.http ?? `http://${config.http.host}:${http.port}`;
}

/** What edges and other regions say. What can't be believed is counted, and changes nothing. */
function takeMessages({ config, role, nats, edges, peers, drift }: Region): void {
  const refused = role.metrics.counter({
    name: "isthmus_messages_refused_total",
    help: "Heartbeats and summaries that were not believed.",
    labels: ["kind"],
  });
  const note = (kind: string, subject: string, why: string | null) => {
    if (why === null) return;
    refused.inc({ kind });
    role.log.debug({ subject, why }, `a ${kind} was not believed`);
  };
  const takeHeartbeat = (subject: string, body: Uint8Array): string | null => {
    const why = edges.takeHeartbeat(subject, body);
    const member = why === null ? edges.member(subject.split(".").at(-1) ?? "") : undefined;
    if (member !== undefined) drift.take(member.edge, member.heartbeat.drift);
    return why;
  };
  nats.subscribe(subjects.heartbeats(config.name), ({ subject, body }) =>
    note("heartbeat", subject, takeHeartbeat(subject, body)),
  );
  nats.subscribe(subjects.summaries, ({ subject, body }) =>
    note("summary", subject, peers.takeSummary(subject, body)),
  );
}

/** A gateway is of use as soon as somebody is there to serve, or would be woken to. */
function notReady({ edges, peers, scaling }: Region): string | null {
  if (scaling.canWake) return null;
  for (const { status } of edges.members()) if (status === "ready") return null;
  for (const { trunk } of peers.list()) if (trunk.state === "up") return null;
  return "no edge is ready and no other region is in reach";
}
