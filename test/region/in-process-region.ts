// A region's serving parts in this process, without NATS: heartbeats are handed in directly, and
// other regions reach it by a real trunk.

import { create } from "@bufbuild/protobuf";
import type { ExecutionContext } from "ava";
import {
  type GenerateRequest,
  GenerateRequestSchema,
} from "../../proto/gen/isthmus/v1/inference_pb.ts";
import { regionId } from "../../proto/ids.ts";
import { createGateway, type Gateway } from "../../region/gateway/gateway.ts";
import { gatewayInferenceService } from "../../region/gateway/gateway-inference.ts";
import { EdgeRegistry } from "../../region/membership/edge-registry.ts";
import type { RouteLabels } from "../../region/route/route-table.ts";
import { RegionScaling } from "../../region/scaling/region-scaling.ts";
import { type ScalingConfig, scalingSchema } from "../../region/scaling/scaling-rules.ts";
import { type PeerAddress, PeerRegistry } from "../../region/spill/peer-registry.ts";
import { systemClock } from "../../runtime/clock.ts";
import { startGrpcServer } from "../../runtime/grpc/server.ts";
import type { CallContext } from "../../runtime/inference/backend.ts";
import { silentLog } from "../../runtime/log.ts";
import { createMetrics } from "../../runtime/metrics.ts";
import { createTrunk } from "../../runtime/trunk/client.ts";
import { trunkService } from "../../runtime/trunk/server.ts";
import { seededRandom } from "../../sync/formats/seeded-random.ts";
import { eventually } from "../support/eventually.ts";
import type { PacedBackendOptions } from "../support/paced-backend.ts";
import { type FakeEdge, startFakeEdge } from "./fake-edge.ts";

export interface InProcessRegion {
  readonly name: string;
  readonly edges: EdgeRegistry;
  readonly peers: PeerRegistry;
  readonly gateway: Gateway;
  readonly scaling: RegionScaling;
  readonly address: PeerAddress;
  /** Starts an edge and waits until it is ready. */
  addEdge(name: string, options?: Partial<PacedBackendOptions>): Promise<FakeEdge>;
}

export async function startInProcessRegion(
  t: ExecutionContext,
  name: string,
  options: {
    peers?: PeerAddress[];
    inFlightMax?: number;
    labels?: RouteLabels;
    scaling?: ScalingConfig;
  } = {},
): Promise<InProcessRegion> {
  const log = silentLog();
  const clock = systemClock;
  const region = regionId(name);
  const hello = { peer: name, role: "region", region: name };
  const openTrunk = (address: string) => createTrunk({ address, hello, clock, log });
  const { labels = { jurisdictions: [], gramsCo2PerKwh: 0 } } = options;
  const edges = new EdgeRegistry({ region, clock, log, openTrunk, labels });
  const peers = new PeerRegistry({ region, clock, log, openTrunk, peers: options.peers ?? [] });
  const random = seededRandom(1).next;
  const inFlightMax = options.inFlightMax ?? 1000;
  const metrics = createMetrics({});
  const nats = { state: "up", publish: () => true, subscribe: () => ({ stop: () => {} }) } as const;
  const config = options.scaling ?? scalingSchema.parse({ hold: { patienceMs: 0 } });
  const scaling = new RegionScaling({
    ...{ region, instance: "a", config, edges, nats, clock, log, metrics },
  });
  const gateway = createGateway({
    ...{ region, edges, peers, clock, random, log, metrics, inFlightMax, scaling },
  });
  const frontend = { backend: gateway, log, metrics, clock };
  const services = [trunkService(gateway, { clock, log }), gatewayInferenceService(frontend)];
  const server = await startGrpcServer({ host: "127.0.0.1", port: 0, services, log });
  t.teardown(async () => {
    scaling.stop();
    edges.close();
    peers.close();
    await server.stop();
  });
  const address = { region: name, grpc: `127.0.0.1:${server.port}`, http: "http://127.0.0.1:1" };
  return {
    ...{ name, edges, peers, gateway, scaling, address },
    async addEdge(edge, backendOptions) {
      const publish = (subject: string, body: Uint8Array) => {
        edges.takeHeartbeat(subject, body);
      };
      const fake = await startFakeEdge(edge, name, publish, backendOptions);
      t.teardown(() => fake.kill());
      await eventually(`${edge} is ready`, () => statusOf(edges, edge) === "ready");
      return fake;
    },
  };
}

export function statusOf(edges: EdgeRegistry, edge: string): string {
  return [...edges.members()].find((member) => member.edge === edge)?.status ?? "unknown";
}

export function requestFor(maxTokens: number, model = "m"): GenerateRequest {
  return create(GenerateRequestSchema, {
    model,
    prompt: { case: "text", value: "p" },
    maxTokens,
  });
}

export function contextOf(init: Partial<CallContext> = {}): CallContext {
  const signal = new AbortController().signal;
  return { signal, requestId: "r", visitedRegions: [], deadlineMs: Infinity, ...init };
}
