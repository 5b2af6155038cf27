// One engine with its base file, and the versions that are open in it. Opens and closes them; who
// is served what is decided by the reconciliation above.
import type { Engine, VersionSpec } from "../engine/engine.ts";
import type { ServedModels, ServedVersion } from "../serving/served-models.ts";
import type { HeldArtifact } from "./artifact-holder.ts";
import type { ModelGoal } from "./model-goal.ts";

/**
 * Starts an engine with its first version, unless told to give up meanwhile: nothing is left of it
 * then. Faults: those of the engine that can't load it; the signal's reason.
 */
export type StartEngine = (start: {
  readonly model: string;
  readonly modelPath: string;
  readonly version: VersionSpec;
  readonly signal: AbortSignal;
}) => Promise<Engine>;

/** The files of one goal, on this edge's disk until released. */
export interface GoalFiles {
  readonly basePath: string;
  readonly adapterPaths: readonly string[];
  readonly held: readonly HeldArtifact[];
}

/** A version that is open in a host's engine. */
export interface HostedVersion {
  readonly host: ModelHost;
  readonly contentKey: string;
  readonly engineVersion: string;
  readonly held: readonly HeldArtifact[];
  /** As it is offered to requests at present. */
  served: ServedVersion;
  /** How many want it open though it isn't the active one. */
  leases: number;
}

let opened = 0;

export class ModelHost {
  readonly baseKey: string;
  readonly engine: Engine;
  readonly versions = new Set<HostedVersion>();

  private constructor(baseKey: string, engine: Engine) {
    this.baseKey = baseKey;
    this.engine = engine;
  }

  /** Starts an engine with the goal as its first version. */
  static async start(
    goal: ModelGoal,
    files: GoalFiles,
    start: StartEngine,
    { nowMs, signal }: { readonly nowMs: number; readonly signal: AbortSignal },
  ): Promise<HostedVersion> {
    const version = specOf(goal, files);
    const { model } = goal;
    const engine = await start({ model, modelPath: files.basePath, version, signal });
    const host = new ModelHost(goal.baseKey, engine);
    return host.#add(goal, files, version, nowMs);
  }

  /** Opens the goal beside what is open already. */
  async open(goal: ModelGoal, files: GoalFiles, nowMs: number): Promise<HostedVersion> {
    const spec = specOf(goal, files);
    await this.engine.openVersion(spec);
    return this.#add(goal, files, spec, nowMs);
  }

  /**
   * Waits for the version's streams to end. Requires: it isn't the engine's active version.
   * Faults: those of the engine; the version then stays open, for another try.
   */
  async close(version: HostedVersion): Promise<void> {
    this.versions.delete(version);
    try {
      await this.engine.closeVersion(version.engineVersion);
    } catch (thrown) {
      this.versions.add(version);
      throw thrown;
    }
    release(version);
  }

  /** Waits for all streams to end, then ends the engine. Requires: nothing of it is served now. */
  async retire(models: ServedModels): Promise<void> {
    await models.whenIdle(this.engine);
    await this.stop();
  }

  /** Ends the engine at once. */
  async stop(): Promise<void> {
    await this.engine.close();
    for (const version of this.versions) release(version);
    this.versions.clear();
  }

  #add(goal: ModelGoal, files: GoalFiles, spec: VersionSpec, openedMs: number): HostedVersion {
    const engineVersion = spec.id;
    const version: HostedVersion = {
      host: this,
      contentKey: goal.contentKey,
      engineVersion,
      held: files.held,
      served: servedAs(goal, this.engine, engineVersion, openedMs),
      leases: 0,
    };
    this.versions.add(version);
    return version;
  }
}

/** How the goal is offered to requests. */
export function servedAs(
  { model, version }: ModelGoal,
  engine: Engine,
  engineVersion: string,
  openedMs: number,
): ServedVersion {
  return { model, version, engine, engineVersion, openedMs };
}

function release(version: HostedVersion): void {
  for (const held of version.held) held.release();
}

/** The engine's own name is new each time: the same goal may come back while it still drains. */
function specOf(goal: ModelGoal, files: GoalFiles): VersionSpec {
  opened++;
  const adapters = goal.adapters.map(({ scale }, at) => ({ path: files.adapterPaths[at]!, scale }));
  return { id: `${goal.contentKey.slice(0, 12)}-${opened}`, adapters };
}
