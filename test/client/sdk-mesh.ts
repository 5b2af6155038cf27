// A mesh as the SDK sees it: endpoints over real gRPC, each behind a link that a test can break,
// all telling the same completion.
import { create } from "@bufbuild/protobuf";
import type { ExecutionContext } from "ava";
import {
  type GetTopologyResponse,
  GetTopologyResponseSchema,
} from "../../proto/gen/isthmus/v1/discovery_pb.ts";
import { systemClock } from "../../runtime/clock.ts";
import { discoveryService } from "../../runtime/frontend/discovery.ts";
import { inferenceService } from "../../runtime/frontend/grpc-inference.ts";
import { startGrpcServer } from "../../runtime/grpc/server.ts";
import { silentLog } from "../../runtime/log.ts";
import { createMetrics } from "../../runtime/metrics.ts";
import { LinkProxy } from "../chaos/link-proxy.ts";
import { type PacedBackend, pacedBackend } from "../support/paced-backend.ts";

export interface SdkEndpoint {
  readonly backend: PacedBackend;
  /** Between the SDK and the endpoint. */
  readonly link: LinkProxy;
}

export interface SdkMesh {
  /** By name: a region's for its gateway, an edge's for itself. */
  readonly endpoints: ReadonlyMap<string, SdkEndpoint>;
  readonly seeds: readonly string[];
}

/** Starts endpoints: `us` is a gateway, `us-1` an edge of the region us. */
export async function startSdkMesh(
  t: ExecutionContext,
  names: readonly string[],
): Promise<SdkMesh> {
  const log = silentLog();
  const endpoints = new Map<string, SdkEndpoint>();
  const addressOf = (name: string) => endpoints.get(name)?.link.address ?? "";
  const regions = [...new Set(names.map((name) => name.replace(/-\d+$/, "")))];
  const topology = (): GetTopologyResponse =>
    create(GetTopologyResponseSchema, {
      regions: regions.map((region) => ({
        region,
        grpc: addressOf(region),
        reachable: true,
        edges: names
          .filter((name) => name.startsWith(`${region}-`))
          .map((edge) => ({
            ...{ edge, region, grpc: addressOf(edge), ready: true, models: ["m"] },
          })),
      })),
    });
  for (const name of names) {
    const region = name.replace(/-\d+$/, "");
    const backend = pacedBackend({ edge: name, region, intervalMs: 5 });
    const frontend = { backend, log, metrics: createMetrics({}), clock: systemClock };
    const services = [inferenceService(frontend), discoveryService(topology)];
    const server = await startGrpcServer({ host: "127.0.0.1", port: 0, services, log });
    const link = await LinkProxy.listen({ target: `127.0.0.1:${server.port}` });
    endpoints.set(name, { backend, link });
    t.teardown(async () => {
      await link.close();
      await server.stop();
    });
  }
  return { endpoints, seeds: names.map(addressOf) };
}
