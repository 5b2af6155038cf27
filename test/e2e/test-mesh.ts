// A whole mesh for end-to-end tests: real processes on free ports in a folder of their own.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { StatusView } from "../../coordinator/api/fleet-routes.ts";
import { type MeshShape, portSpan } from "../../deploy/local/layout.ts";
import { type MeshHandle, type MeshOptions, startMesh } from "../../deploy/local/mesh.ts";
import type { RoleOverrides } from "../../deploy/local/role-config.ts";
import type { Wiring } from "../../deploy/nats/wiring.ts";
import { eventually } from "../support/eventually.ts";
import { reservePorts } from "../support/port-block.ts";

const REGIONS = ["us", "eu", "ap"];
const READY_MAX_MS = 120_000;

export interface TestMeshOptions {
  readonly regions?: readonly string[];
  readonly edges?: number;
  readonly model?: string;
  /** Lays something between the processes of the mesh that is about to start. */
  readonly wire?: (shape: MeshShape) => Promise<Wiring>;
  readonly onEnd?: MeshOptions["onEnd"];
  /** Keys laid over the configurations that the roles get. */
  readonly overrides?: RoleOverrides;
}

export interface TestMesh extends AsyncDisposable {
  readonly handle: MeshHandle;
  /** host:port of a region's or an edge's gRPC. */
  grpc(name: string): string;
  /** http://host:port */
  http(name: string): string;
  /** Starts an ended process again and waits until it takes requests. */
  revive(name: string): Promise<void>;
  /** Waits until a region's gateway sees this many of its edges as ready. */
  sees(region: string, readyEdges: number): Promise<void>;
}

export async function startTestMesh(options: TestMeshOptions = {}): Promise<TestMesh> {
  const regions = options.regions ?? REGIONS;
  const ports = await reservePorts(portSpan(regions.length));
  const dir = await mkdtemp(join(tmpdir(), "isthmus-e2e-"));
  const shape = { dir, regions, edges: options.edges ?? 2, portBase: ports.base };
  const { model, wire, onEnd, overrides } = options;
  const handle = await startMesh({
    ...shape,
    ...(model === undefined ? {} : { model }),
    ...(wire === undefined ? {} : { via: await wire(shape) }),
    ...(onEnd === undefined ? {} : { onEnd }),
    ...(overrides === undefined ? {} : { overrides }),
  });
  const address = (name: string, kind: "grpc" | "http"): string => {
    for (const region of handle.layout.regions) {
      if (region.name === name) return region[kind];
      for (const edge of region.edges) if (edge.name === name) return edge[kind];
    }
    if (name === "coordinator") return handle.layout.coordinator[kind];
    throw new Error(`the mesh has no ${name}`);
  };
  const edges = regions.length * shape.edges;
  await eventually(`all ${edges} edges are known to be ready`, async () => {
    // The coordinator knows it from the regions: their gateways route to these edges by then.
    const { models } = await jsonOf<StatusView>(`${address("coordinator", "http")}/v1/status`);
    return models.length > 0 && models.every(({ rollout }) => rollout?.serving.length === edges);
  });
  const isReady = async (name: string) => (await fetch(`${address(name, "http")}/readyz`)).ok;
  return {
    handle,
    grpc: (name) => address(name, "grpc"),
    http: (name) => address(name, "http"),
    async revive(name) {
      await handle.restart(name);
      await eventually(`${name} is ready again`, () => isReady(name), READY_MAX_MS);
    },
    async sees(region, readyEdges) {
      await eventually(`${region} sees ${readyEdges} ready edges`, async () => {
        const url = `${address(region, "http")}/v1/region`;
        const summary = await jsonOf<{ edges?: { status: string }[] }>(url);
        const ready = (summary.edges ?? []).filter(({ status }) => status === "ready");
        return ready.length === readyEdges;
      });
    },
    async [Symbol.asyncDispose]() {
      await handle.stop();
      await ports.release();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

async function jsonOf<T>(url: string): Promise<T> {
  return (await (await fetch(url)).json()) as T;
}
