// What this edge should serve and how far it is: takes the desired state as it is told, remembers
// it on disk, and has each model reconciled to it. Serves from the remembered one, and from files
// of the operator's, with nobody above.
import { asFault, Fault } from "../../proto/fault.ts";
import type { DesiredState, ModelVersion } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import type { ServedModels } from "../serving/served-models.ts";
import type { HeldArtifact } from "./artifact-holder.ts";
import { DesiredFile } from "./desired-file.ts";
import { DesiredRevisions } from "./desired-revisions.ts";
import { desiredOf } from "./desired-share.ts";
import { type ArtifactRef, fileGoal, goalOf, type ModelGoal } from "./model-goal.ts";
import type { StartEngine } from "./model-host.ts";
import { ModelReconciler, type Progress, type VersionLease } from "./model-reconciler.ts";

export const MODELS_MAX = 64;

export interface VersionsOptions {
  /** This edge among all: `<region>/<edge>`. */
  readonly name: string;
  readonly dir: string;
  /** Models from files of the operator's; a desired version of the same model goes before. */
  readonly files: readonly { readonly model: string; readonly path: string }[];
  readonly models: ServedModels;
  readonly hold: (artifact: ArtifactRef, signal: AbortSignal) => Promise<HeldArtifact>;
  readonly startEngine: StartEngine;
  readonly clock: Clock;
  readonly log: Log;
  /** Called after every change of progress. */
  readonly onChange: () => void;
}

export class Versions {
  readonly #options: VersionsOptions;
  readonly #file: DesiredFile;
  readonly #revisions: DesiredRevisions;
  readonly #reconcilers = new Map<string, ModelReconciler>();
  #reconciledRevision = 0n;

  /** Begins at once with what is remembered and configured. */
  constructor(options: VersionsOptions) {
    this.#options = options;
    this.#file = new DesiredFile(options.dir, options.log);
    this.#revisions = new DesiredRevisions(this.#file.read());
    this.#apply();
  }

  /** Takes what is told; an echo of what is known already costs nothing. */
  take(told: DesiredState): void {
    if (!this.#revisions.take(told, this.#options.clock.now())) return;
    this.#options.log.info({ revision: String(told.revision) }, "a new desired state");
    try {
      this.#file.write(told);
    } catch (thrown) {
      // Serving goes on; the next start will have to be told.
      this.#options.log.error({ err: thrown }, "the desired state can't be stored");
    }
    this.#apply();
  }

  /** Models that are wanted, or not yet gone. */
  names(): readonly string[] {
    const all = [...this.#reconcilers];
    return all.filter(([, reconciler]) => !reconciler.isVacant).map(([model]) => model);
  }

  progressOf(model: string): Progress {
    return this.#reconcilers.get(model)?.progress ?? { kind: "settled" };
  }

  /** The newest revision to which every model has been brought. */
  get reconciledRevision(): bigint {
    return this.#reconciledRevision;
  }

  /** Why this edge can't do its work yet; null when every wanted model is served. */
  get notReady(): string | null {
    const names = this.names();
    if (names.length === 0) return "no model is wanted here yet";
    for (const model of names) {
      const engine = this.#options.models.active(model)?.engine;
      if (engine?.state === "ready") continue;
      if (engine !== undefined) return `${model}: the engine is ${engine.state}`;
      const progress = this.progressOf(model);
      return progress.kind === "failed"
        ? `${model}: ${progress.reason}`
        : `${model}: ${progress.kind}`;
    }
    return null;
  }

  /** Opens a version beside the served one. Faults: `model-absent`, and those of bringing it. */
  async lease(version: ModelVersion, signal: AbortSignal): Promise<VersionLease> {
    const goal = goalOf(version);
    const reconciler = this.#reconcilers.get(goal.model);
    if (reconciler === undefined || this.#options.models.active(goal.model) === undefined) {
      throw new Fault("model-absent", `${goal.model} is not served here`);
    }
    return await reconciler.lease(goal, signal);
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#reconcilers.values()].map((reconciler) => reconciler.stop()));
  }

  #apply(): void {
    const wanted = new Map<string, ModelGoal | Refusal>();
    for (const { model, path } of this.#options.files) wanted.set(model, fileGoal(model, path));
    const told = this.#revisions.current;
    const desired = told === undefined ? [] : desiredOf(told, this.#options.name);
    for (const version of desired.slice(0, MODELS_MAX))
      wanted.set(version.model, readGoal(version));
    for (const [model, reconciler] of this.#reconcilers) {
      if (!wanted.has(model)) reconciler.want(null);
    }
    for (const [model, goal] of wanted) {
      const reconciler = this.#reconcilerOf(model);
      if ("refusal" in goal) reconciler.refuse(goal.version, goal.refusal);
      else reconciler.want(goal);
    }
    this.#progressed();
  }

  #reconcilerOf(model: string): ModelReconciler {
    let reconciler = this.#reconcilers.get(model);
    if (reconciler === undefined) {
      const { models, hold, startEngine, clock, log } = this.#options;
      const onChange = () => this.#progressed();
      reconciler = new ModelReconciler({
        model,
        models,
        hold,
        startEngine,
        clock,
        log,
        onChange,
      });
      this.#reconcilers.set(model, reconciler);
    }
    return reconciler;
  }

  #progressed(): void {
    const all = [...this.#reconcilers.values()];
    if (all.every((reconciler) => reconciler.isSettled)) {
      this.#reconciledRevision = this.#revisions.current?.revision ?? 0n;
    }
    this.#options.onChange();
  }
}

/** A version that can't be wanted, and why. */
interface Refusal {
  readonly version: string;
  readonly refusal: string;
}

function readGoal(version: ModelVersion): ModelGoal | Refusal {
  try {
    return goalOf(version);
  } catch (thrown) {
    return { version: version.version, refusal: asFault(thrown).message };
  }
}
