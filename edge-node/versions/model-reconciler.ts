// Brings one model to what is wanted of it and keeps it there: fetches, loads, switches, closes
// what is left over, and tries again later when it fails. Only the newest wish counts; what is
// served goes on being served until the next version stands beside it.
import { asFault } from "../../proto/fault.ts";
import type { Clock, Timer } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import type { ServedModels } from "../serving/served-models.ts";
import type { HeldArtifact } from "./artifact-holder.ts";
import { type ArtifactRef, bytesOf, type ModelGoal } from "./model-goal.ts";
import {
  type GoalFiles,
  type HostedVersion,
  ModelHost,
  type StartEngine,
  servedAs,
} from "./model-host.ts";
import { Turnstile } from "./turnstile.ts";

export const RETRY_MIN_MS = 500;
export const RETRY_MAX_MS = 30_000;
/** Old versions that still drain; the next switch waits when there are as many. */
const CLOSING_MAX = 2;

export interface ModelReconcilerOptions {
  readonly model: string;
  readonly models: ServedModels;
  readonly hold: (artifact: ArtifactRef, signal: AbortSignal) => Promise<HeldArtifact>;
  readonly startEngine: StartEngine;
  readonly clock: Clock;
  readonly log: Log;
  /** Called after every change of what `progress` tells. */
  readonly onChange: () => void;
}

/** How far the newest wish is. */
export type Progress =
  | { readonly kind: "settled" }
  | ({ readonly kind: "fetching" | "loading" } & Pending)
  | ({ readonly kind: "failed"; readonly reason: string } & Pending);

interface Pending {
  readonly version: string;
  /** Of its files, all of which it takes into memory; 0 where that isn't known. */
  readonly bytes: number;
}

/** Keeps a version open beside the served one. */
export interface VersionLease {
  readonly version: string;
  release(): void;
}

export class ModelReconciler {
  readonly #options: ModelReconcilerOptions;
  readonly #turnstile = new Turnstile();
  readonly #hosts = new Set<ModelHost>();
  readonly #closing = new Set<Promise<void>>();
  #wanted: ModelGoal | null = null;
  #reached: ModelGoal | null = null;
  #active: HostedVersion | undefined;
  #progress: Progress = { kind: "settled" };
  #refusal: Progress | undefined;
  #attempt: AbortController | undefined;
  #failures = 0;
  #retry: Timer | undefined;
  #isStopped = false;

  constructor(options: ModelReconcilerOptions) {
    this.#options = options;
  }

  get progress(): Progress {
    return this.#refusal ?? this.#progress;
  }

  get isSettled(): boolean {
    return this.progress.kind === "settled" && this.#reached === this.#wanted;
  }

  /** Nothing is wanted and nothing is left. */
  get isVacant(): boolean {
    return this.#wanted === null && this.isSettled;
  }

  /** Changes what is wanted; null wants the model gone. Returns at once. */
  want(goal: ModelGoal | null): void {
    this.#refusal = undefined;
    const { contentKey, version } = this.#wanted ?? {};
    if (goal?.contentKey === contentKey && goal?.version === version) return;
    this.#wanted = goal;
    this.#failures = 0;
    this.#attempt?.abort();
    this.#begin();
  }

  /** What was told can't be wanted: says so, and goes on serving what there is. */
  refuse(version: string, reason: string): void {
    this.#refusal = { kind: "failed", version, reason, bytes: 0 };
    this.#options.onChange();
  }

  /**
   * Opens the goal beside what is served, or joins it when it is open, until the lease is released.
   * Requests reach it by pinning the returned version.
   */
  lease(goal: ModelGoal, signal: AbortSignal): Promise<VersionLease> {
    return this.#turnstile.run(async () => {
      const version = this.#find(goal) ?? (await this.#open(goal, signal, () => {}));
      if (version !== this.#active) this.#options.models.open(version.served);
      version.leases++;
      const release = () => {
        version.leases--;
        void this.#turnstile.run(async () => this.#closeUnused());
      };
      return { version: version.served.version, release };
    });
  }

  /** Ends everything at once; streams in flight break off. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#attempt?.abort();
    this.#retry?.cancel();
    this.#options.models.remove(this.#options.model);
    const stopHosts = () => Promise.all([...this.#hosts].map((host) => host.stop()));
    await stopHosts();
    await this.#turnstile.run(stopHosts); // one that was just being started
  }

  #begin(): void {
    this.#retry?.cancel();
    void this.#turnstile.run(async () => {
      if (this.#isStopped || this.#reached === this.#wanted) return;
      await this.#tryToReach(this.#wanted);
    });
  }

  async #tryToReach(goal: ModelGoal | null): Promise<void> {
    const attempt = new AbortController();
    this.#attempt = attempt;
    try {
      if (goal === null) this.#vacate();
      else await this.#reach(goal, attempt.signal);
      this.#reached = goal;
      this.#failures = 0;
      this.#setProgress({ kind: "settled" });
    } catch (thrown) {
      if (this.#wanted !== goal || this.#isStopped) return; // the newer wish has its own turn
      const { model, log, clock } = this.#options;
      const reason = asFault(thrown).message;
      const retryMs = Math.min(RETRY_MIN_MS * 2 ** this.#failures, RETRY_MAX_MS);
      this.#failures++;
      log.warn({ model, version: goal?.version, reason, retryMs }, "a version can't be served yet");
      const pending = { version: goal?.version ?? "", bytes: goal === null ? 0 : bytesOf(goal) };
      this.#setProgress({ kind: "failed", reason, ...pending });
      this.#retry = clock.after(retryMs, () => this.#begin());
    }
  }

  async #reach(goal: ModelGoal, signal: AbortSignal): Promise<void> {
    const { models, log, clock } = this.#options;
    while (this.#closing.size >= CLOSING_MAX) await Promise.race(this.#closing);
    const onStage = (kind: "fetching" | "loading") =>
      this.#setProgress({ kind, version: goal.version, bytes: bytesOf(goal) });
    const next = this.#find(goal) ?? (await this.#open(goal, signal, onStage));
    await next.host.engine.activateVersion(next.engineVersion);
    if (this.#isStopped) return;
    const before = next.served;
    next.served = servedAs(goal, next.host.engine, next.engineVersion, clock.now());
    this.#active = next;
    models.activate(next.served);
    if (before.version !== goal.version) models.close(before);
    log.info({ model: goal.model, version: goal.version }, "now serving");
    this.#closeUnused();
  }

  /** The goal as it is open already, under whatever name, in an engine that lives. */
  #find(goal: ModelGoal): HostedVersion | undefined {
    const all = [...this.#hosts].flatMap((host) => [...host.versions]);
    return all.find(({ contentKey }) => contentKey === goal.contentKey);
  }

  async #open(
    goal: ModelGoal,
    signal: AbortSignal,
    onStage: (stage: "fetching" | "loading") => void,
  ): Promise<HostedVersion> {
    onStage("fetching");
    const files = await this.#fetch(goal, signal);
    try {
      signal.throwIfAborted();
      onStage("loading");
      const nowMs = this.#options.clock.now();
      const host = [...this.#hosts].find(({ baseKey }) => baseKey === goal.baseKey);
      if (host !== undefined) return await host.open(goal, files, nowMs);
      const when = { nowMs, signal };
      const version = await ModelHost.start(goal, files, this.#options.startEngine, when);
      this.#hosts.add(version.host);
      return version;
    } catch (thrown) {
      for (const held of files.held) held.release();
      throw thrown;
    }
  }

  async #fetch(goal: ModelGoal, signal: AbortSignal): Promise<GoalFiles> {
    const held: HeldArtifact[] = [];
    const hold = async (artifact: ArtifactRef): Promise<string> => {
      const file = await this.#options.hold(artifact, signal);
      held.push(file);
      return file.path;
    };
    try {
      const { base } = goal;
      const basePath = base.kind === "file" ? base.path : await hold(base.artifact);
      const adapterPaths: string[] = [];
      for (const { artifact } of goal.adapters) adapterPaths.push(await hold(artifact));
      return { basePath, adapterPaths, held };
    } catch (thrown) {
      for (const file of held) file.release();
      throw thrown;
    }
  }

  #vacate(): void {
    this.#options.models.remove(this.#options.model);
    this.#active = undefined;
    this.#closeUnused();
  }

  /** Closes whatever is neither active nor leased; streams on it end first. */
  #closeUnused(): void {
    const { models } = this.#options;
    for (const host of [...this.#hosts]) {
      const isUsed = (version: HostedVersion) => version === this.#active || version.leases > 0;
      const unused = [...host.versions].filter((version) => !isUsed(version));
      for (const { served } of unused) models.close(served);
      if (unused.length === host.versions.size) {
        this.#hosts.delete(host);
        this.#close(host.retire(models));
      } else {
        // The engine's active version can't be closed there; it goes with its engine.
        for (const version of unused.filter(
          ({ engineVersion }) => !isActiveIn(host, engineVersion),
        ))
          this.#close(host.close(version));
      }
    }
  }

  #close(closing: Promise<void>): void {
    const { model, log } = this.#options;
    const settled = closing
      .catch((thrown: unknown) => log.warn({ model, err: thrown }, "closing a version failed"))
      .then(() => void this.#closing.delete(settled));
    this.#closing.add(settled);
  }

  #setProgress(progress: Progress): void {
    this.#progress = progress;
    this.#options.onChange();
  }
}

function isActiveIn(host: ModelHost, engineVersion: string): boolean {
  return host.engine.versions().some(({ id, active }) => id === engineVersion && active);
}
