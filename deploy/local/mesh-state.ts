// What runs in a mesh and where, as written to `mesh.json` for scripts, tests and the `isthmus`
// command to find it by.
import { renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export type MeshRole = "wan" | "nats" | "coordinator" | "region" | "edge";

export interface MeshProcess {
  readonly role: MeshRole;
  readonly name: string;
  /** "wan" for the emulated network, which lies between them. */
  readonly region: string;
  readonly pid: number;
  /** Absent for a nats-server only. */
  readonly http?: string;
  readonly grpc?: string;
  /** For a nats-server its client URL; for a role the server it connects to first, if any. */
  readonly nats?: string;
}

export interface MeshState {
  /** Those that run now: one that died is gone from here until it is started again. */
  readonly processes: readonly MeshProcess[];
  /** True once the mesh has come up, while none of the processes above is still starting. */
  readonly ready: boolean;
}

export function meshFile(dir: string): string {
  return join(dir, "mesh.json");
}

/** Replaces the file in one step: a reader sees the old state or the new, never a part. */
export function writeMeshState(dir: string, state: MeshState): void {
  const path = meshFile(dir);
  writeFileSync(`${path}.new`, `${JSON.stringify(state, null, 2)}\n`);
  renameSync(`${path}.new`, path);
}
