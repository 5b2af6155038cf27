// The public interfaces, HTTP and gRPC, over one backend on free ports of the loopback.
import { create } from "@bufbuild/protobuf";
import { Hono } from "hono";
import { GetTopologyResponseSchema } from "../../proto/gen/isthmus/v1/discovery_pb.ts";
import { type Clock, systemClock } from "../../runtime/clock.ts";
import { discoveryService } from "../../runtime/frontend/discovery.ts";
import { inferenceService } from "../../runtime/frontend/grpc-inference.ts";
import { openAiRoutes } from "../../runtime/frontend/openai/routes.ts";
import { startGrpcServer } from "../../runtime/grpc/server.ts";
import { startHttpServer } from "../../runtime/http/server.ts";
import { systemRoutes } from "../../runtime/http/system-routes.ts";
import type { InferenceBackend } from "../../runtime/inference/backend.ts";
import { silentLog } from "../../runtime/log.ts";
import { createMetrics, type Metrics } from "../../runtime/metrics.ts";

export interface FrontendServers {
  /** http://host:port */
  readonly http: string;
  /** host:port */
  readonly grpc: string;
  readonly metrics: Metrics;
  stop(): Promise<void>;
}

export async function startFrontends(
  backend: InferenceBackend,
  clock: Clock = systemClock,
): Promise<FrontendServers> {
  const metrics = createMetrics({ role: "test" });
  const log = silentLog();
  const options = { backend, log, metrics, clock };
  const app = new Hono();
  app.route("/", systemRoutes({ ready: () => null, metrics }));
  app.route("/", openAiRoutes(options));
  const topology = create(GetTopologyResponseSchema, { region: "test" });
  const host = "127.0.0.1";
  const http = await startHttpServer({ host, port: 0, app, log });
  const services = [inferenceService(options), discoveryService(() => topology)];
  const grpc = await startGrpcServer({ host, port: 0, services, log });
  return {
    http: `http://${host}:${http.port}`,
    grpc: `${host}:${grpc.port}`,
    metrics,
    async stop() {
      await Promise.all([http.stop(), grpc.stop()]);
    },
  };
}
