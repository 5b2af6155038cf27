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
import { dutyRelay } from "./lease/duty-relay.ts";
import { Pair } from "./lease/pair.ts";
import type { RegionAddresses } from "./lease/region-identity.ts";
import type { SingleDuty } from "./lease/single-duty.ts";
import { EdgeRegistry } from "./membership/edge-registry.ts";
import { heldRounds } from "./round/held-rounds.ts";
import type { RegionRounds } from "./round/region-rounds.ts";
import { roundRoutes } from "./round/round-routes.ts";
import { RegionScaling } from "./scaling/region-scaling.ts";
import { scalingRoutes } from "./scaling/scaling-routes.ts";
import { createSessions, type Sessions } from "./session/sessions.ts";
import { PeerRegistry } from "./spill/peer-registry.ts";

/** Streams under way get this long to end when the region stops. */
const STOP_GRACE_MS = 1000;

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
  /** This process among those of its region. */
  readonly pair: Pair;
}

const config = readConfig(regionConfigSchema);

runRole({
  role: "region",
  name: config.instance === undefined ? config.name : `${config.name}-${config.instance}`,
  labels: { region: config.name },
  start: (role) => startRegion(config, role),
});

async function startRegion(config: RegionConfig, role: RoleScope): Promise<RoleAddresses> {
  const region = assemble(config, role);
  const relay = await startRelay(region);
  region.scaling.start(() => relay.desired);
  const { nats, edges, pair } = region;
  const fetchArtifact = (sha: Sha256, bytes: number) => pull(region, { sha256: sha, bytes });
  const rounds = heldRounds({ ...region, fetchArtifact });
  role.onStop(() => rounds.stop());
  if (pair.isAlone) await rounds.follow();
  const summary = summaries(region, relay);
  const own = await listen(region, rounds, summary);
  takeMessages(region);
  const { name: at } = config;
  const speaks = () => pair.speaks;
  role.onStop(publishSummaries({ region: at, nats, clock: role.clock, edges, summary, speaks }));
  pair.onChange(() => rounds.pursue());
  pair.start(own);
  return { http: config.advertise.http ?? own.http, grpc: config.advertise.grpc ?? own.grpc };
}

async function startRelay({ config, role, nats, pair }: Region): Promise<DesiredRelay> {
  const { clock, log } = role;
  const path = join(config.dir, "desired.json");
  const relay = await startDesiredRelay({
    region: config.name,
    nats,
    vault: new DesiredVault({
      path,
      aside: `${path}.${pair.instance}.new`,
      nats,
      domain: config.natsDomain ?? config.name,
      log,
    }),
    clock,
    log,
    speaks: () => pair.speaks,
  });
  role.onStop(() => relay.stop());
  return relay;
}

/** Everything that needs no address of its own yet. Parts stop in reverse order. */
function assemble(config: RegionConfig, role: RoleScope): Region {
  const { name } = config;
  const { log, metrics, clock } = role;
  const nats = openNats({
    servers: config.nats,
    name: config.instance === undefined ? `region ${name}` : `region ${name}/${config.instance}`,
    onState: (state, detail) => log.info({ state, detail }, "NATS"),
    onError: (error) => log.warn({ err: error }, "NATS"),
  });
  role.onStop(() => nats.close());
  const domain = config.natsDomain ?? name;
  const pair = new Pair({
    ...{ region: name, domain, nats, clock, log },
    ...{ instance: config.instance, advertise: config.advertise },
    onLost: (gone) => {
      log.info({ gone }, "another instance of this region is gone, or has started anew");
      sessions.oweAll();
    },
  });
  // Stopped after the duties, so that whoever comes next finds them ended.
  role.onStop(() => pair.stop());
  const hello = { peer: name, role: "region", region: name };
  const openTrunk = (address: string) => createTrunk({ address, hello, clock, log });
  const { labels, policies } = config;
  const edges = new EdgeRegistry({ region: name, clock, log, openTrunk, labels });
  role.onStop(() => edges.close());
  const peers = new PeerRegistry({ region: name, clock, log, openTrunk, peers: config.peers });
  role.onStop(() => peers.close());
  const shared = { name: pair.instance, mayEvict: () => pair.acts };
  const store = createArtifactStore({
    dir: join(config.dir, "artifacts"),
    ...(pair.isAlone ? {} : { shared }),
  });
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
    ...{ region: name, domain, nats, clock, log, metrics },
    jurisdictions: config.labels.jurisdictions,
    ...{ backend: gateway, policies },
    peers: () => peers.standings(),
  });
  role.onStop(() => sessions.stop());
  return { config, role, nats, edges, peers, sessions, drift, scaling, gateway, store, pair };
}

/** Brings an artifact here from the coordinator. */
function pull(region: Region, target: { sha256: Sha256; bytes: number }): Promise<string> {
  const { config, role, store } = region;
  const { signal, clock } = role;
  return pullArtifact(target, [config.coordinator.http], store, { signal, clock });
}

function summaries({ config, drift, edges, peers, pair }: Region, relay: DesiredRelay) {
  const labels = create(RegionLabelsSchema, config.labels);
  return (): RegionSummary => {
    const { revision = 0n, trials = [] } = relay.desired ?? {};
    const trying = trials.flatMap((trial) => trial.edges.map((name) => name.split("/")));
    const mine = trying.flatMap(([at, edge]) => (at === config.name && edge ? [edge] : []));
    const summary = summarize(pair.identity.next(), edges, revision, mine);
    drift.tellIn(summary);
    return { ...summary, labels, rttMs: peers.rtts(), instances: [...pair.instances()] };
  };
}

async function listen(
  region: Region,
  rounds: SingleDuty<RegionRounds>,
  summary: () => RegionSummary,
): Promise<RegionAddresses> {
  const { config, role, sessions, peers, edges, store, pair } = region;
  const { log, metrics, clock } = role;
  const served = new ServedCompletions(clock);
  const backend = noting(sessions.backend, served);
  const frontend = { backend, log, metrics, clock };
  const feedback = createFeedbackRelay({
    region: config.name,
    served,
    edgeAddress: (edge) => edges.member(edge)?.heartbeat.grpc,
    regionAddress: (region) => peers.get(region)?.grpc,
    siblingAddresses: () => pair.others().map(({ grpc }) => grpc),
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
  const { instance } = pair;
  const passOn = dutyRelay({
    ...{ instance, isHere: () => rounds.isRunning, holder: () => pair.holder },
    onChange: (listener) => pair.onChange(listener),
  });
  for (const path of ["/v1/rounds/*", "/v1/quarantine"]) app.use(path, passOn);
  const http = () => pair.identity.addresses.http;
  app.route(
    "/",
    roundRoutes(() => rounds.current, { region: config.name, http }),
  );
  const services = [
    gatewayInferenceService(frontend),
    discoveryService(() => topologyOf(summary(), peers)),
    trunkService(backend, { clock, log }),
    feedbackService(feedback),
  ];
  const grpc = await startGrpcServer({ ...config.grpc, services, log });
  role.onStop(() => grpc.stop(STOP_GRACE_MS));
  const server = await startHttpServer({ ...config.http, app, log });
  role.onStop(() => server.stop(STOP_GRACE_MS));
  return {
    http: config.own.http ?? `http://${config.http.host}:${server.port}`,
    grpc: config.own.grpc ?? `${config.grpc.host}:${grpc.port}`,
  };
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
