// What a region tells clients about the mesh: its edges, and the other regions with theirs.
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  type EdgeAddressSchema,
  type GetTopologyResponse,
  GetTopologyResponseSchema,
} from "../../proto/gen/isthmus/v1/discovery_pb.ts";
import {
  type EdgeSummary,
  ModelStatus,
  type RegionSummary,
} from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { PeerRegistry } from "../spill/peer-registry.ts";

export function topologyOf(own: RegionSummary, peers: PeerRegistry): GetTopologyResponse {
  const others = [...peers.list()].map(({ region, grpc, http, trunk, summary }) => ({
    region,
    grpc,
    http,
    reachable: trunk.state === "up",
    edges: summary?.edges.map((edge) => edgeAddress(region, edge)) ?? [],
    jurisdictions: summary?.labels?.jurisdictions ?? [],
    gateways: gatewaysOf(summary?.instances),
  }));
  const { region, grpc, http, edges, instances } = own;
  const self = {
    ...{ region, grpc, http, reachable: true },
    edges: edges.map((edge) => edgeAddress(region, edge)),
    jurisdictions: own.labels?.jurisdictions ?? [],
    gateways: gatewaysOf(instances),
  };
  return create(GetTopologyResponseSchema, { region, regions: [self, ...others] });
}

function gatewaysOf(instances: RegionSummary["instances"] = []): string[] {
  return instances.map(({ grpc }) => grpc);
}

function edgeAddress(
  region: string,
  { edge, grpc, http, status, models, drift }: EdgeSummary,
): MessageInitShape<typeof EdgeAddressSchema> {
  const loaded = models.filter((model) => model.status === ModelStatus.READY);
  const ready = status === "ready" && loaded.length > 0;
  return {
    ...{ edge, region, grpc, http, ready },
    models: loaded.map(({ model }) => model),
    driftingModels: drift.filter((one) => one.score > one.threshold).map(({ model }) => model),
  };
}
