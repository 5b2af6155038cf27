// The process of an edge: serves models to callers near it, reports to its region, learns from
// examples that stay here. Everything is put together here and nowhere else.
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { Hono } from "hono";
import { Fault } from "../proto/fault.ts";
import { EdgeAddressSchema } from "../proto/gen/isthmus/v1/discovery_pb.ts";
import { EdgeLabelsSchema } from "../proto/gen/isthmus/v1/mesh_pb.ts";
import { sha256 } from "../proto/ids.ts";
import { subjects } from "../proto/subjects.ts";
import { readConfig } from "../runtime/config.ts";
import { createCompletionMeter } from "../runtime/frontend/completion-meter.ts";
import { discoveryService } from "../runtime/frontend/discovery.ts";
import { feedbackRoutes } from "../runtime/frontend/feedback/feedback-routes.ts";
import { feedbackService } from "../runtime/frontend/feedback/grpc-feedback.ts";
import { openAiRoutes } from "../runtime/frontend/openai/routes.ts";
import { type GrpcServer, startGrpcServer } from "../runtime/grpc/server.ts";
import { type HttpServer, startHttpServer } from "../runtime/http/server.ts";
import { systemRoutes } from "../runtime/http/system-routes.ts";
import { type NatsLink, openNats } from "../runtime/nats/connection.ts";
import { type RoleAddresses, type RoleScope, runRole } from "../runtime/role.ts";
import { createTrunk } from "../runtime/trunk/client.ts";
import { trunkService } from "../runtime/trunk/server.ts";
import type { Trunk } from "../runtime/trunk/trunk.ts";
import { type EdgeConfig, edgeConfigSchema } from "./config.ts";
import { edgeInferenceService } from "./escalation/edge-inference.ts";
import { EscalatingBackend } from "./escalation/escalating-backend.ts";
import { onlyElsewhere, type Place } from "./escalation/placement-rules.ts";
import { jurisdictionsTold, mergeTopology, TopologyCache } from "./escalation/topology.ts";
import { dataRoutes } from "./examples/data-routes.ts";
import { type Memory, openMemory } from "./examples/memory.ts";
import { remembering } from "./examples/remembering-backend.ts";
import { GpuProbe } from "./heartbeat/gpu-probe.ts";
import { Heart } from "./heartbeat/heart.ts";
import { PrefixNews } from "./heartbeat/prefix-news.ts";
import { readVitals } from "./heartbeat/vitals.ts";
import { createLearning, type Learning } from "./learning/learning.ts";
import { followDrainOrders } from "./serving/drain-orders.ts";
import { withEdgeGauges } from "./serving/edge-metrics.ts";
import { metered } from "./serving/metered-backend.ts";
import { openServing, type Serving } from "./serving/serving.ts";
import { pauseGauge, runTrainingOf } from "./training/edge-trainer.ts";
import { ServingPause } from "./training/serving-pause.ts";
import { followDesired } from "./versions/desired-feed.ts";
import { createEvaluator } from "./versions/evaluator.ts";

/** Longest that streams may go on once the edge was told to stop; the role allows 5 s in all. */
const DRAIN_MS = 3500;
/** Then for what is still being sent. */
const LAST_BYTES_MS = 300;

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
  /** What direct callers are served by. */
  readonly direct: EscalatingBackend;
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
  const memory = openMemory(config, scope, serving.models);
  serving.versionBook.rateBy(() => memory.examples.ratingsByVersion());
  const listeners = await listen(config, scope, serving, uplink, memory);
  const learning = uplink.nats && openLearning(config, scope, serving, uplink.nats, memory);
  if (uplink.nats !== undefined) {
    report(config, scope, serving, uplink.nats, listeners, memory, learning);
  }
  scope.onStop(() => {
    listeners.grpc.drain();
    return serving.drain.stop(DRAIN_MS);
  });
  return listeners.addresses;
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

async function listen(
  config: EdgeConfig,
  scope: RoleScope,
  serving: Serving,
  { trunk, topology }: Uplink,
  { examples, drift }: Memory,
): Promise<Listeners> {
  const { log, clock } = scope;
  const { models, versions, admitted } = serving;
  const metrics = withEdgeGauges(scope.metrics, models, admitted);
  const direct = escalating(config, scope, serving, { trunk, topology });
  const { recent, feedback } = examples;
  const remembered = { recent, onInput: drift.note.bind(drift) };
  const frontend = { backend: remembering(direct, remembered), log, metrics, clock };
  const ready = () => (serving.drain.isDraining ? "draining" : versions.notReady);
  const app = new Hono();
  app.route("/", systemRoutes({ ready, metrics }));
  app.route("/", openAiRoutes(frontend));
  app.route("/", feedbackRoutes({ port: feedback, log, clock }));
  app.route("/", dataRoutes(examples.store));
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
  const kept = remembering(trunked, remembered);
  const trunkHere = trunkService(kept, { clock, log });
  const services = [inference, trunkHere, discovery, feedbackService(feedback)];
  const grpc = await startGrpcServer({ ...config.grpc, services, log });
  scope.onStop(() => grpc.stop(LAST_BYTES_MS));
  const addresses = {
    http: config.advertise.http ?? `http://${config.http.host}:${http.port}`,
    grpc: config.advertise.grpc ?? `${config.grpc.host}:${grpc.port}`,
  };
  return { http, grpc, addresses, direct };
}

function escalating(
  { name: edge, region, jurisdictions }: EdgeConfig,
  { clock, metrics }: RoleScope,
  { admitted: local, engines, drain, models }: Serving,
  { trunk, topology }: Pick<Uplink, "trunk" | "topology">,
): EscalatingBackend {
  const escalations = metrics.counter({
    name: "isthmus_escalations_total",
    help: "Requests, or rests of them, that went to the region.",
    labels: ["cause"],
  });
  const onEscalate = (cause: string) => escalations.inc({ cause });
  const localRefusal = (model: string): Fault | null => {
    if (drain.isDraining) return new Fault("draining", "this edge takes no new work");
    return models.refusal(model);
  };
  const place: Place = {
    region,
    get jurisdictions() {
      return jurisdictions ?? jurisdictionsTold(topology?.told, region);
    },
    hasGpu: (model) => models.usesGpu(model),
  };
  return new EscalatingBackend({
    edge,
    region,
    local,
    localRefusal,
    onlyElsewhere: (request) => onlyElsewhere(request, place),
    hints: (request) => engines.hints(request),
    trunk,
    clock,
    onEscalate,
  });
}

function openLearning(
  config: EdgeConfig,
  { log, clock, metrics, onStop }: RoleScope,
  serving: Serving,
  nats: NatsLink,
  { examples }: Memory,
): Learning {
  const { models, versions, admitted, holder } = serving;
  const pausing = new ServingPause({
    inFlight: () => admitted.inFlight,
    shareMin: config.training.shareWhileBusy,
    clock,
    onChange: pauseGauge(metrics),
  });
  serving.onChange = () => pausing.look();
  const learning = createLearning({
    region: config.region,
    edge: config.name,
    dir: join(config.dir, "learning"),
    nats,
    training: config.training,
    privateData: examples.privateData,
    fetchArtifact: async (artifact) => {
      const ref = { sha256: sha256(artifact.sha256), bytes: Number(artifact.bytes) };
      const held = await holder.hold(ref, new AbortController().signal);
      held.release(); // used at once; what is used last is evicted last
      return held.path;
    },
    runTraining: runTrainingOf(config.training, pausing),
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
  { addresses, direct }: Listeners,
  { drift }: Memory,
  learning: Learning | undefined,
): void {
  const { name: edge, region } = config;
  const { drain, admitted } = serving;
  const incarnation = BigInt(clock.now());
  const publicKey = learning?.publicKey ?? new Uint8Array();
  const gpus = config.engine.gpu ? new GpuProbe({ clock, log }) : undefined;
  onStop(() => gpus?.stop());
  const sources = {
    ...serving,
    prefixNews: new PrefixNews(),
    gpuStates: () => gpus?.states ?? [],
    isDraining: () => drain.isDraining,
    isTraining: () => learning?.isTraining ?? false,
    drift: () => drift.news(clock.monotonicMs()),
  };
  const labels = create(EdgeLabelsSchema, config.labels);
  const heart = new Heart({
    identity: { region, edge, incarnation, publicKey, labels, ...addresses },
    vitals: () => readVitals(sources, clock.monotonicMs()),
    publish: (body) => nats.publish(subjects.heartbeat(region, edge), body),
    clock,
  });
  const { onChange } = serving;
  serving.onChange = () => {
    onChange();
    heart.changed();
  };
  onStop(() => heart.stop());
  const onDesired = serving.versions.take.bind(serving.versions);
  onStop(followDesired({ link: nats, region, log, onDesired }));
  const inFlight = () => admitted.inFlight;
  const relayed = () => direct.relayed;
  onStop(followDrainOrders({ link: nats, region, edge, drain, inFlight, relayed, log }));
}
