// Starts meshes of real nats-servers and fake roles in a folder and port block of their own.
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { portSpan } from "../../../deploy/local/layout.ts";
import type { MeshOptions } from "../../../deploy/local/mesh.ts";
import { type MeshState, meshFile } from "../../../deploy/local/mesh-state.ts";
import { reservePorts } from "../../support/port-block.ts";

export const fakeRole = join(import.meta.dirname, "fake-role.ts");

export interface FakePlace extends AsyncDisposable {
  readonly dir: string;
  readonly options: MeshOptions;
  /** What mesh.json says now. */
  state(): Promise<MeshState>;
}

/** A folder, ports and options for a mesh of fakes; the folder goes with it. */
export async function fakePlace(regions: readonly string[], edges = 1): Promise<FakePlace> {
  const dir = await mkdtemp(join(tmpdir(), "isthmus-mesh-"));
  const ports = await reservePorts(portSpan(regions.length, true));
  return {
    dir,
    options: {
      dir,
      regions,
      edges,
      portBase: ports.base,
      seed: false,
      programs: { coordinator: fakeRole, region: fakeRole, "edge-node": fakeRole },
    },
    state: async () => JSON.parse(await readFile(meshFile(dir), "utf8")) as MeshState,
    async [Symbol.asyncDispose]() {
      await ports.release();
      await rm(dir, { recursive: true, force: true });
    },
  };
}
