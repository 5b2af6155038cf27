// What of one model should be served here: a base file and the adapters on it, under the name of
// a version. Two goals with the same content may bear different names.
import { createHash } from "node:crypto";
import { Fault } from "../../proto/fault.ts";
import type { Artifact, ModelVersion } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import { modelPattern, type Sha256, sha256 } from "../../proto/ids.ts";

export const ADAPTERS_MAX = 8;
const VERSION_LENGTH_MAX = 256;

export interface ArtifactRef {
  readonly sha256: Sha256;
  readonly bytes: number;
}

/** Where the base comes from: the mesh, or a file that the operator put here. */
export type ModelBase =
  | { readonly kind: "artifact"; readonly artifact: ArtifactRef }
  | { readonly kind: "file"; readonly path: string };

export interface GoalAdapter {
  readonly artifact: ArtifactRef;
  readonly scale: number;
}

export interface ModelGoal {
  readonly model: string;
  readonly version: string;
  readonly base: ModelBase;
  readonly adapters: readonly GoalAdapter[];
  /** Same key, same weights. */
  readonly contentKey: string;
  /** Same key, same base: one engine can serve both. */
  readonly baseKey: string;
}

/** Faults: `invalid-argument` when the version names something that can't be served. */
export function goalOf(version: ModelVersion): ModelGoal {
  if (!modelPattern.test(version.model)) refuse("the model's name is wrong");
  if (version.version === "" || version.version.length > VERSION_LENGTH_MAX) {
    refuse("the version's name is missing or too long");
  }
  if (version.base === undefined) refuse("the version has no base");
  if (version.adapters.length > ADAPTERS_MAX) refuse(`more than ${ADAPTERS_MAX} adapters`);
  const adapters = version.adapters.map(({ artifact, scale }) => {
    if (artifact === undefined) refuse("an adapter has no artifact");
    if (!Number.isFinite(scale)) refuse("an adapter's scale isn't finite");
    return { artifact: artifactRef(artifact), scale };
  });
  const base: ModelBase = { kind: "artifact", artifact: artifactRef(version.base) };
  return withKeys({ model: version.model, version: version.version, base, adapters });
}

/** A model from a file of the operator's, served without anybody above. */
export function fileGoal(model: string, path: string): ModelGoal {
  return withKeys({ model, version: `${model}@0`, base: { kind: "file", path }, adapters: [] });
}

/** Of all its files; a file of the operator's doesn't count, since its size isn't told. */
export function bytesOf({ base, adapters }: ModelGoal): number {
  const own = base.kind === "artifact" ? base.artifact.bytes : 0;
  return adapters.reduce((sum, { artifact }) => sum + artifact.bytes, own);
}

function withKeys(goal: Omit<ModelGoal, "contentKey" | "baseKey">): ModelGoal {
  const { base } = goal;
  const baseKey = base.kind === "file" ? `file:${base.path}` : base.artifact.sha256;
  const parts = goal.adapters.map(({ artifact, scale }) => `${artifact.sha256}*${scale}`);
  const contentKey = createHash("sha256")
    .update([baseKey, ...parts].join("\n"))
    .digest("hex");
  return { ...goal, baseKey, contentKey };
}

function artifactRef(artifact: Artifact): ArtifactRef {
  try {
    return { sha256: sha256(artifact.sha256), bytes: Number(artifact.bytes) };
  } catch (thrown) {
    throw new Fault("invalid-argument", (thrown as Error).message, { cause: thrown });
  }
}

function refuse(why: string): never {
  throw new Fault("invalid-argument", why);
}
