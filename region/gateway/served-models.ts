// The models that can be had through this region: on its own edges, and in the other regions.
import { create } from "@bufbuild/protobuf";
import { type ModelInfo, ModelInfoSchema } from "../../proto/gen/isthmus/v1/inference_pb.ts";
import { ModelStatus } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { EdgeRegistry } from "../membership/edge-registry.ts";
import type { PeerRegistry } from "../spill/peer-registry.ts";

export function servedModels(edges: EdgeRegistry, peers: PeerRegistry): ModelInfo[] {
  const models = new Map<string, ModelInfo>();
  const add = (id: string, version: string, contextLength: number, architecture: string) => {
    if (models.has(id)) return;
    models.set(id, create(ModelInfoSchema, { id, version, contextLength, architecture }));
  };
  for (const { status, heartbeat } of edges.members()) {
    if (status === "dead") continue;
    for (const {
      model,
      version,
      status: loaded,
      contextLength,
      architecture,
    } of heartbeat.models) {
      if (loaded === ModelStatus.READY) add(model, version, contextLength, architecture);
    }
  }
  for (const { model, version, edgesReady, contextLength, architecture } of peers.models()) {
    if (edgesReady > 0) add(model, version, contextLength, architecture);
  }
  return [...models.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
}
