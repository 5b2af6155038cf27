// A whole mesh on one machine, each part a process of its own: started in order, watched, described
// in mesh.json, and stopped without leaving anything behind. `npm start`, the end-to-end tests and
// the benches all use this.
import { mkdirSync } from "node:fs";
import { resolve } from "node:path";
import { systemClock } from "../../runtime/clock.ts";
import { findNatsServer } from "../nats/server-binary.ts";
import { missingLinks } from "../nats/topology-health.ts";
import { requireFreePorts } from "./free-ports.ts";
import { type MeshLayout, type MeshShape, meshLayout } from "./layout.ts";
import {
  coordinatorSpec,
  edgeSpecs,
  natsSpecs,
  regionSpecs,
  type SpecOptions,
  wanSpecs,
} from "./member-specs.ts";
import { lockMeshDir, type MeshLock } from "./mesh-lock.ts";
import { type MemberSpec, MeshMember } from "./mesh-member.ts";
import { type MeshProcess, type MeshRole, type MeshState, writeMeshState } from "./mesh-state.ts";
import { resolveModel } from "./model-source.ts";
import { ReaperLink } from "./reaper-link.ts";
import { seedMesh } from "./seed.ts";
import type { ProcessExit } from "./supervised-process.ts";
import { MeshRefused } from "./usage-error.ts";

/** Beyond this a start has failed: ready within 60 s is the promise on two cores. */
const START_MAX_MS = 180_000;
/** How long the processes of a mesh whose launcher was killed may take to end. */
const PREDECESSOR_MAX_MS = 15_000;
const LINK_POLL_MS = 50;
/** The order of stopping: what serves callers first, what others rely on last. */
const STOP_ORDER: readonly MeshRole[] = ["edge", "region", "coordinator", "nats", "wan"];

export interface MeshOptions extends MeshShape, SpecOptions {
  /** A GGUF's path, URL or hf:owner/repo/file; default: the demo model. */
  readonly model?: string;
  /** Start again what ended by itself or was killed. */
  readonly restart?: boolean;
  /** Whether to publish the model and write example files. Default true. */
  readonly seed?: boolean;
  readonly onProgress?: (line: string) => void;
  /** Told when a process ends that nobody stopped. */
  readonly onEnd?: (name: string, exit: ProcessExit, againInMs: number | undefined) => void;
  /** Gives up starting, and stops what has been started. */
  readonly signal?: AbortSignal;
}

/** A mesh that has come up. */
export interface MeshHandle extends AsyncDisposable {
  readonly layout: MeshLayout;
  /** What runs now, as in mesh.json. */
  readonly state: MeshState;
  /** The line of a process in mesh.json; throws when it doesn't run. */
  process(name: string): MeshProcess;
  /** Signals one process by name; for SIGKILL and SIGTERM returns when it has ended. */
  kill(name: string, signal?: NodeJS.Signals): Promise<void>;
  /** Starts a process that has ended; returns when it serves. */
  restart(name: string): Promise<void>;
  /** Stops everything, gently at first; returns when nothing is left. */
  stop(): Promise<void>;
  /** Ends everything at once. */
  forceStop(): void;
}

/**
 * Starts a mesh and returns once every edge serves. When it can't, everything started is stopped.
 * Faults: UsageError (a wrong option), MeshRefused (port or folder taken, a part won't start).
 */
export async function startMesh(options: MeshOptions): Promise<MeshHandle> {
  const layout = meshLayout({ ...options, dir: resolve(options.dir) });
  const lock = lockMeshDir(layout.shape.dir);
  try {
    await requireFreePorts(layout, lock.wasStale ? PREDECESSOR_MAX_MS : 0);
  } catch (error) {
    lock.release();
    throw error;
  }
  const mesh = new Mesh(options, layout, lock);
  try {
    await mesh.start();
    return mesh;
  } catch (error) {
    await mesh.stop();
    throw error;
  }
}

class Mesh implements MeshHandle {
  readonly layout: MeshLayout;
  readonly #options: MeshOptions;
  readonly #lock: MeshLock;
  readonly #reaper: ReaperLink;
  readonly #members = new Map<string, MeshMember>();
  #cameUp = false;
  #stopped: Promise<void> | undefined;

  constructor(options: MeshOptions, layout: MeshLayout, lock: MeshLock) {
    this.#options = options;
    this.layout = layout;
    this.#lock = lock;
    this.#reaper = new ReaperLink(layout.shape.dir);
  }

  get state(): MeshState {
    const members = [...this.#members.values()];
    const processes = members.map(({ entry }) => entry).filter((entry) => entry !== undefined);
    const starting = members.some((member) => member.running && !member.serving);
    return { processes, ready: this.#cameUp && !starting };
  }

  async start(): Promise<void> {
    const { promise: ended, reject } = Promise.withResolvers<never>();
    const giveUp = () => reject(new MeshRefused("stopped while starting"));
    const timer = systemClock.after(START_MAX_MS, () => {
      const late = [...this.#members.values()].filter(({ serving }) => !serving);
      const names = late.map(({ spec }) => spec.name).join(", ");
      const hint = `see the logs in ${this.layout.logDir}`;
      reject(new MeshRefused(`not ready in ${START_MAX_MS / 1000} s: ${names}; ${hint}`));
    });
    this.#options.signal?.addEventListener("abort", giveUp, { once: true });
    try {
      if (this.#options.signal?.aborted) giveUp();
      await Promise.race([this.#startAll(), ended]);
      this.#cameUp = true;
      this.#publishState();
    } finally {
      timer.cancel();
      this.#options.signal?.removeEventListener("abort", giveUp);
    }
  }

  process(name: string): MeshProcess {
    const { entry } = this.#member(name);
    if (entry === undefined) throw new Error(`${name} doesn't run`);
    return entry;
  }

  async kill(name: string, signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    await this.#member(name).kill(signal);
  }

  async restart(name: string): Promise<void> {
    await this.#member(name).start();
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stopAll();
    return this.#stopped;
  }

  forceStop(): void {
    for (const member of this.#members.values()) member.forceStop();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #startAll(): Promise<void> {
    const layout = this.layout;
    const options = this.#options;
    const seed = options.seed ?? true;
    const say = options.onProgress ?? (() => {});
    mkdirSync(layout.configDir, { recursive: true });
    this.#publishState();
    const nats = await findNatsServer({ stateDir: layout.shape.dir, onProgress: say });
    const source = seed ? await resolveModel(options.model, layout.shape.dir) : undefined;

    if (layout.wan !== undefined) say("starting the emulated network");
    await this.#startMembers(wanSpecs(layout, options));
    say(`starting ${layout.nats.length} nats-servers (${nats.version})`);
    await this.#startMembers(natsSpecs(layout, nats.path));
    await this.#untilLinked();
    say("starting the coordinator");
    await this.#startMembers([coordinatorSpec(layout, options)]);
    say(`starting ${layout.regions.length} regions`);
    await Promise.all([
      this.#startMembers(regionSpecs(layout, options)),
      source && seedMesh(layout.coordinator.http, source, layout.shape.dir, say),
    ]);
    say(`starting ${layout.regions.length * layout.shape.edges} edges`);
    await this.#startMembers(edgeSpecs(layout, options, source));
  }

  async #startMembers(specs: readonly MemberSpec[]): Promise<void> {
    const started = specs.map((spec) => {
      if (this.#stopped !== undefined) throw new MeshRefused("stopped while starting");
      const member = new MeshMember(spec, {
        reaper: this.#reaper,
        restart: this.#options.restart ?? false,
        onChange: () => this.#publishState(),
        onEnd: (...end) => this.#options.onEnd?.(...end),
      });
      this.#members.set(spec.name, member);
      return member.start();
    });
    await Promise.all(started).catch((error: unknown) => {
      throw new MeshRefused(error instanceof Error ? error.message : String(error));
    });
  }

  async #untilLinked(): Promise<void> {
    while (this.#stopped === undefined && (await missingLinks(this.layout.nats)).length > 0) {
      await new Promise<void>((done) => systemClock.after(LINK_POLL_MS, done));
    }
  }

  async #stopAll(): Promise<void> {
    this.#cameUp = false;
    for (const role of STOP_ORDER) {
      const members = [...this.#members.values()].filter(({ spec }) => spec.role === role);
      await Promise.all(members.map((member) => member.stop()));
    }
    await this.#reaper.close();
    this.#publishState();
    this.#lock.release();
  }

  #member(name: string): MeshMember {
    const member = this.#members.get(name);
    if (member === undefined) throw new Error(`the mesh has no process ${name}`);
    return member;
  }

  #publishState(): void {
    writeMeshState(this.layout.shape.dir, this.state);
  }
}
