// Which models and versions this edge can serve at this moment. The reconciliation of versions
// writes it, requests read it; a switch of version is one synchronous change.
import { Fault } from "../../proto/fault.ts";
import type { ModelInfo } from "../../proto/gen/isthmus/v1/inference_pb.ts";
import type { Engine } from "../engine/engine.ts";

/** One version that is open in an engine. */
export interface ServedVersion {
  readonly model: string;
  /** As callers know it, e.g. commands@3. */
  readonly version: string;
  readonly engine: Engine;
  /** As the engine knows it. */
  readonly engineVersion: string;
  /** Unix milliseconds at which it was opened here. */
  readonly openedMs: number;
}

interface ServedModel {
  active: ServedVersion;
  /** Open ones, the active one among them, the newest last. */
  readonly open: Set<ServedVersion>;
}

/** A request's hold on a version. */
export interface ServedUse {
  readonly served: ServedVersion;
  /** Once, when the request has ended. */
  release(): void;
}

interface EngineUse {
  count: number;
  readonly idle: PromiseWithResolvers<void>;
}

/** An engine that restarts is usually back within this time. */
const RESTART_RETRY_MS = 500;

export interface VersionWish {
  readonly model: string;
  /** Must be this version; empty for the active one. */
  readonly pinned: string;
  /** Should be this version if it is still open; empty for no preference. */
  readonly preferred: string;
}

export class ServedModels {
  readonly #models = new Map<string, ServedModel>();
  readonly #listeners = new Set<() => void>();
  readonly #uses = new Map<Engine, EngineUse>();

  /** Makes a version the one that requests get, and opens it if it isn't. */
  activate(version: ServedVersion): void {
    const served = this.#models.get(version.model);
    if (served === undefined) {
      this.#models.set(version.model, { active: version, open: new Set([version]) });
    } else {
      served.active = version;
      served.open.add(version);
    }
    this.#changed();
  }

  /** Opens a version beside the active one, for requests that pin it. */
  open(version: ServedVersion): void {
    this.#models.get(version.model)?.open.add(version);
    this.#changed();
  }

  /** No request gets this version any more. Requires: it isn't the active one. */
  close(version: ServedVersion): void {
    this.#models.get(version.model)?.open.delete(version);
    this.#changed();
  }

  /** No request gets this model any more. */
  remove(model: string): void {
    this.#models.delete(model);
    this.#changed();
  }

  active(model: string): ServedVersion | undefined {
    return this.#models.get(model)?.active;
  }

  /** Why no request for the model can be served at present; null if it can be tried. */
  refusal(model: string): Fault | null {
    const active = this.active(model);
    if (active === undefined) return new Fault("model-absent", `${model} is not served here`);
    return engineRefusal(active);
  }

  /** How many requests of the model run at once; undefined when it isn't served. */
  slotsOf(model: string): number | undefined {
    return this.active(model)?.engine.info.slots;
  }

  /** Whether the engine that serves the model uses a GPU. */
  usesGpu(model: string): boolean {
    return (this.active(model)?.engine.info.gpu ?? "") !== "";
  }

  models(): readonly string[] {
    return [...this.#models.keys()];
  }

  /**
   * Chooses a version and keeps its engine from being closed until released.
   * Faults: `model-absent`, also for a pinned version that isn't open here.
   */
  acquire(wish: VersionWish): ServedUse {
    const served = this.#pick(wish);
    const use = this.#uses.get(served.engine) ?? { count: 0, idle: Promise.withResolvers<void>() };
    use.count++;
    this.#uses.set(served.engine, use);
    const release = () => {
      use.count--;
      if (use.count > 0) return;
      this.#uses.delete(served.engine);
      use.idle.resolve();
    };
    return { served, release };
  }

  /** Resolves when no request uses the engine. Requires: nothing of it is served any more. */
  async whenIdle(engine: Engine): Promise<void> {
    await this.#uses.get(engine)?.idle.promise;
  }

  list(): readonly ModelInfo[] {
    return [...this.#models.values()].map(({ active }) => ({
      $typeName: "isthmus.v1.ModelInfo",
      id: active.model,
      version: active.version,
      contextLength: active.engine.info.contextSize,
      architecture: active.engine.info.architecture,
      created: BigInt(Math.floor(active.openedMs / 1000)),
    }));
  }

  /** Calls back after every change, until the returned function is called. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  #pick({ model, pinned, preferred }: VersionWish): ServedVersion {
    const served = this.#models.get(model);
    if (served === undefined) throw new Fault("model-absent", `${model} is not served here`);
    if (pinned !== "") {
      const found = openAs(served, pinned);
      if (found === undefined) throw new Fault("model-absent", `${pinned} is not open here`);
      return found;
    }
    return (preferred === "" ? undefined : openAs(served, preferred)) ?? served.active;
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }
}

function openAs(served: ServedModel, version: string): ServedVersion | undefined {
  if (served.active.version === version) return served.active;
  return [...served.open].findLast((open) => open.version === version);
}

/** Why the version's engine takes no requests at present; null when it does. */
export function engineRefusal({ model, engine }: ServedVersion): Fault | null {
  if (engine.state === "ready") return null;
  const isBrief = engine.state === "loading";
  const problem = isBrief ? "restarting" : engine.state;
  const retryAfterMs = isBrief ? RESTART_RETRY_MS : 0;
  return new Fault("model-absent", `the engine of ${model} is ${problem}`, { retryAfterMs });
}
