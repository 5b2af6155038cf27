// The process of an edge: serves models to callers near it, reports to its region, learns from
// examples that stay here. Everything is put together here and nowhere else.
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { Hono } from "hono";
import { Fault } from "../proto/fault.ts";
import { EdgeAddressSchema } from "../proto/gen/isthmus/v1/discovery_pb.ts";
import { sha256 } from "../proto/ids.ts";
import { subjects } from "../proto/subjects.ts";
import { readConfig } from "../runtime/config.ts";
import { createCompletionMeter } from "../runtime/frontend/completion-meter.ts";
import { discoveryService } from "../runtime/frontend/discovery.ts";
import { openAiRoutes } from "../runtime/frontend/openai/routes.ts";
import { type GrpcServer, startGrpcServer } from "../runtime/grpc/server.ts";
import { type HttpServer, startHttpServer } from "../runtime/http/server.ts";
import { systemRoutes } from "../runtime/http/system-routes.ts";
import { type NatsLink, openNats } from "../runtime/nats/connection.ts";
import { type RoleAddresses, type RoleScope, runRole } from "../runtime/role.ts";
import { createTrunk } from "../runtime/trunk/client.ts";
import { trunkService } from "../runtime/trunk/server.ts";
import type { Trunk } from "../runtime/trunk/trunk.ts";
import { createArtifactStore } from "../sync/artifact/artifact-store.ts";
import { AdmittedBackend } from "./admission/admitted-backend.ts";
import { type EdgeConfig, edgeConfigSchema } from "./config.ts";
import { edgeInferenceService } from "./escalation/edge-inference.ts";
import { EscalatingBackend } from "./escalation/escalating-backend.ts";
import { mergeTopology, TopologyCache } from "./escalation/topology.ts";
import { Heart } from "./heartbeat/heart.ts";
import { readVitals } from "./heartbeat/vitals.ts";
import { createLearning, type Learning } from "./learning/learning.ts";
import { withEdgeGauges } from "./serving/edge-metrics.ts";
import { EngineBackend } from "./serving/engine-backend.ts";
import { metered } from "./serving/metered-backend.ts";
import { ServedModels } from "./serving/served-models.ts";
import { runTraining } from "./training/run-training.ts";
import { ArtifactHolder } from "./versions/artifact-holder.ts";
import { followDesired } from "./versions/desired-feed.ts";
import { engineStarter } from "./versions/engine-starter.ts";
import { createEvaluator } from "./versions/evaluator.ts";
import { Versions } from "./versions/versions.ts";

/** Longest that streams may go on once the edge was told to stop; the role allows 5 s in all. */
const DRAIN_MS = 3500;
/** Then for what is still being sent. */
const LAST_BYTES_MS = 300;

/** The edge's serving, from the engines up to the admission. */
interface Serving {
  readonly models: ServedModels;
  readonly versions: Versions;
  readonly engines: EngineBackend;
  readonly admitted: AdmittedBackend;
  readonly holder: ArtifactHolder;
  /** Set once everything that tells of changes is there. */
  onChange: () => void;
  isDraining: boolean;
}

/** The ways out of the edge; absent for one on its own. */
interface Uplink {
  readonly nats: NatsLink | undefined;
  readonly trunk: Trunk | undefined;
  readonly topology: TopologyCache | undefined;
}

interface Listeners {
  readonly http: HttpServer;
  readonly grpc: GrpcServer;
  readonly addresses: Required<RoleAddresses>;
}

const config = readConfig(edgeConfigSchema);

runRole({
  role: "edge",
  name: config.name,
  labels: { region: config.region },
  start: (scope) => start(config, scope),
});

async function start(config: EdgeConfig, scope: RoleScope): Promise<RoleAddresses> {
  const uplink = openUplink(config, scope);
  const serving = openServing(config, scope);
  const listeners = await listen(config, scope, serving, uplink);
  const learning = uplink.nats && openLearning(config, scope, serving, uplink.nats);
  const { addresses } = listeners;
  if (uplink.nats !== undefined) report(config, scope, serving, uplink.nats, addresses, learning);
  scope.onStop(() => drain(serving, listeners, scope));
  return addresses;
}

function openUplink(config: EdgeConfig, { log, clock, onStop }: RoleScope): Uplink {
  const { name, region, nats: servers, gateway } = config;
  const onState = (state: string, detail: string) => log.info({ state, detail }, "NATS");
  const onError = (error: Error) => log.warn({ err: error }, "NATS");
  const nats =
    servers.length === 0
      ? undefined
      : openNats({ servers, name: `edge ${name}`, clock, onState, onError });
  if (nats !== undefined) onStop(() => nats.close());
  if (gateway === undefined) return { nats, trunk: undefined, topology: undefined };
  const hello = { peer: name, role: "edge", region };
  const trunk = createTrunk({ address: gateway.grpc, hello, clock, log });
  const topology = new TopologyCache({ gateway, clock, log });
  onStop(() => {
    trunk.close();
    topology.stop();
  });
  return { nats, trunk, topology };
}

function openServing(config: EdgeConfig, { log, clock, onStop }: RoleScope): Serving {
  const { name: edge, region, gateway, queueMax } = config;
  const models = new ServedModels();
  const store = createArtifactStore({ dir: join(config.dir, "artifacts") });
  const sources = () => (gateway === undefined ? [] : [gateway.http]);
  const holder = new ArtifactHolder({ store, sources, clock });
  const onChange = () => serving.onChange();
  const startEngine = engineStarter(config.engine, log, onChange);
  const engines = new EngineBackend({ models, edge, region, clock });
  const slotsOf = (model: string) => models.slotsOf(model);
  const admitted = new AdmittedBackend({ backend: engines, slotsOf, queueMax, clock, onChange });
  const serving: Serving = {
    models,
    versions: new Versions({
      dir: config.dir,
      files: config.models,
      models,
      hold: (artifact, signal) => holder.hold(artifact, signal),
      startEngine,
      clock,
      log,
      // Called from within the constructor too, before `serving` is there.
      onChange: () => queueMicrotask(onChange),
    }),
    engines,
    admitted,
    holder,
    onChange: () => {},
    isDraining: false,
  };
  onStop(async () => {
    holder.stop();
    await serving.versions.stop();
  });
  return serving;
}

async function listen(
  config: EdgeConfig,
  scope: RoleScope,
  serving: Serving,
  { trunk, topology }: Uplink,
): Promise<Listeners> {
  const { log, clock } = scope;
  const { models, versions, admitted } = serving;
  const metrics = withEdgeGauges(scope.metrics, models, admitted);
  const backend = escalating(config, scope, serving, trunk);
  const frontend = { backend, log, metrics, clock };
  const ready = () => (serving.isDraining ? "draining" : versions.notReady);
  const app = new Hono();
  app.route("/", systemRoutes({ ready, metrics }));
  app.route("/", openAiRoutes(frontend));
  const http = await startHttpServer({ ...config.http, app, log });
  scope.onStop(() => http.stop(LAST_BYTES_MS));
  const self = () =>
    create(EdgeAddressSchema, {
      edge: config.name,
      region: config.region,
      ...addresses,
      ready: ready() === null,
      models: [...models.models()],
    });
  const discovery = discoveryService(() =>
    mergeTopology(self(), config.gateway, topology?.told, topology?.isReachable ?? false),
  );
  // The trunk serves the region: what fails there goes back to it, and is never escalated.
  const inference = edgeInferenceService(frontend, admitted);
  const trunked = metered(admitted, createCompletionMeter("trunk", metrics, clock));
  const services = [inference, trunkService(trunked, { clock, log }), discovery];
  const grpc = await startGrpcServer({ ...config.grpc, services, log });
  scope.onStop(() => grpc.stop(LAST_BYTES_MS));
  const addresses = {
    http: config.advertise.http ?? `http://${config.http.host}:${http.port}`,
    grpc: config.advertise.grpc ?? `${config.grpc.host}:${grpc.port}`,
  };
  return { http, grpc, addresses };
}

function escalating(
  { name: edge, region }: EdgeConfig,
  { clock, metrics }: RoleScope,
  serving: Serving,
  trunk: Trunk | undefined,
): EscalatingBackend {
  const escalations = metrics.counter({
    name: "isthmus_escalations_total",
    help: "Requests, or rests of them, that went to the region.",
    labels: ["cause"],
  });
  const onEscalate = (cause: string) => escalations.inc({ cause });
  const localRefusal = (model: string): Fault | null => {
    if (serving.isDraining) return new Fault("draining", "this edge is stopping");
    return serving.models.refusal(model);
  };
  const local = serving.admitted;
  return new EscalatingBackend({ edge, region, local, localRefusal, trunk, clock, onEscalate });
}

function openLearning(
  config: EdgeConfig,
  { log, clock, onStop }: RoleScope,
  { models, versions, admitted, holder }: Serving,
  nats: NatsLink,
): Learning {
  const learning = createLearning({
    region: config.region,
    edge: config.name,
    dir: join(config.dir, "learning"),
    nats,
    training: config.training,
    privateData: config.privateData,
    fetchArtifact: async (artifact) => {
      const ref = { sha256: sha256(artifact.sha256), bytes: Number(artifact.bytes) };
      const held = await holder.hold(ref, new AbortController().signal);
      held.release(); // used at once; what is used last is evicted last
      return held.path;
    },
    runTraining,
    evaluator: createEvaluator({
      backend: admitted,
      lease: (version, signal) => versions.lease(version, signal),
      slotsOf: (model) => models.slotsOf(model),
      clock,
    }),
    clock,
    log,
  });
  onStop(() => learning.stop());
  return learning;
}

/** Tells the region how this edge fares, and hears from it what to serve. */
function report(
  config: EdgeConfig,
  { clock, log, onStop }: RoleScope,
  serving: Serving,
  nats: NatsLink,
  addresses: Required<RoleAddresses>,
  learning: Learning | undefined,
): void {
  const { name: edge, region } = config;
  const incarnation = BigInt(clock.now());
  const publicKey = learning?.publicKey ?? new Uint8Array();
  const heart = new Heart({
    identity: { region, edge, incarnation, publicKey, ...addresses },
    vitals: () =>
      readVitals({
        ...serving,
        isDraining: () => serving.isDraining,
        isTraining: () => learning?.isTraining ?? false,
      }),
    publish: (body) => nats.publish(subjects.heartbeat(region, edge), body),
    clock,
  });
  serving.onChange = () => heart.changed();
  onStop(() => heart.stop());
  const onDesired = serving.versions.take.bind(serving.versions);
  onStop(followDesired({ link: nats, region, log, onDesired }));
}

/** Stops taking requests, tells everybody so, and lets those under way end. */
async function drain(
  serving: Serving,
  { grpc }: Listeners,
  { clock, log }: RoleScope,
): Promise<void> {
  serving.isDraining = true;
  grpc.drain();
  serving.onChange();
  const late = Promise.withResolvers<void>();
  const timer = clock.after(DRAIN_MS, () => {
    log.warn({ inFlight: serving.admitted.inFlight }, "streams are cut that didn't end in time");
    late.resolve();
  });
  await Promise.race([serving.admitted.drain(), late.promise]);
  timer.cancel();
}
