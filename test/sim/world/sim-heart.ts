// The heartbeats of a simulated edge, at the real pace. Objects are used again once nobody holds
// them: twelve million heartbeats a run must not be twelve million allocations.
import { create } from "@bufbuild/protobuf";
import { HeartbeatPace } from "../../../edge-node/heartbeat/heartbeat-pace.ts";
import {
  EdgeLabelsSchema,
  GpuStateSchema,
  type Heartbeat,
  HeartbeatSchema,
  type ModelState,
  ModelStateSchema,
  PrefixDigestSchema,
} from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { EventQueue } from "../kernel/event-queue.ts";
import type { EngineProfile } from "./engine-profile.ts";
import type { SimProcess } from "./sim-process.ts";

/** What is held is told when it changed, and this often in any case. */
const PREFIXES_EVERY_MS = 5000;
const PREFIXES_MAX = 512;

/** A ModelState whose digest can be taken back. */
type Silenceable = { prefixes: ModelState["prefixes"] | undefined };

export interface HeartSources {
  /** Writes how the edge fares into the beat's model. */
  fill(beat: Heartbeat, model: ModelState): void;
  /** Counts changes of what its sequences hold. */
  cacheRevision(): number;
  heldBlocks(most: number): number[];
}

export interface SimHeartOptions {
  readonly queue: EventQueue;
  readonly process: SimProcess;
  readonly index: number;
  readonly region: string;
  readonly edge: string;
  readonly model: string;
  readonly profile: Pick<EngineProfile, "hasGpu" | "watts" | "costPerHour">;
  /** An edge from before the heartbeat told of limits, percentiles and prefixes. */
  readonly isOld: boolean;
  readonly sources: HeartSources;
  readonly publish: (index: number, beat: Heartbeat) => void;
  /** The kind of event that calls `due`, with the edge's index. */
  readonly beatKind: number;
}

export class SimHeart {
  readonly #options: SimHeartOptions;
  readonly #free: Heartbeat[] = [];
  /** All there are, and the revision of the figures that each holds. */
  readonly #made: Heartbeat[] = [];
  readonly #filled: number[] = [];
  /** Counts changes of the figures. */
  #revision = 0;
  #toldAt = -1;
  #pace = new HeartbeatPace();
  #nextMs = Infinity;
  #sequence = 0n;
  #incarnation = 0n;
  #toldRevision = -1;
  #toldMs = -Infinity;

  constructor(options: SimHeartOptions) {
    this.#options = options;
  }

  /** A new process begins to beat, after so long. */
  start(delayMs: number): void {
    const { queue, process } = this.#options;
    this.#pace = new HeartbeatPace();
    this.#sequence = 0n;
    this.#toldRevision = -1;
    this.#toldAt = -1;
    this.#toldMs = -Infinity;
    this.#revision += 1;
    this.#incarnation = BigInt(Math.floor(process.wallMs));
    this.#schedule(queue.nowMs + delayMs);
  }

  stop(): void {
    this.#nextMs = Infinity;
  }

  /** Some figure is different now; no reason to hurry. */
  touched(): void {
    this.#revision += 1;
  }

  /** Something that beats tell is different now. */
  changed(): void {
    this.#revision += 1;
    if (this.#nextMs === Infinity) return;
    this.#pace.changed();
    const dueMs = this.#pace.dueMs;
    if (dueMs < this.#nextMs) this.#schedule(Math.max(dueMs, this.#options.queue.nowMs));
  }

  /** An event of its kind has come up; most are the one that is waited for. */
  due(): void {
    const { queue, process } = this.#options;
    if (queue.nowMs !== this.#nextMs) return;
    if (!process.isRunning) {
      this.#nextMs = Infinity;
      if (process.state === "frozen") process.run(() => this.#schedule(queue.nowMs));
      return;
    }
    this.#send(queue.nowMs);
    this.#pace.sent(queue.nowMs);
    this.#schedule(this.#pace.dueMs);
  }

  /** A beat that nobody looks at any more. */
  release(beat: Heartbeat): void {
    this.#free.push(beat);
  }

  #schedule(atMs: number): void {
    const { queue, beatKind, index } = this.#options;
    this.#nextMs = Math.max(atMs, queue.nowMs);
    queue.push(this.#nextMs, beatKind, index);
  }

  #send(nowMs: number): void {
    const { sources, publish, index } = this.#options;
    const beat = this.#free.pop() ?? this.#make();
    this.#sequence += 1n;
    beat.sequence = this.#sequence;
    beat.incarnation = this.#incarnation;
    const model = beat.models[0]!;
    // Not `delete`: that would make every later access of the object slow.
    if (model.prefixes !== undefined) (model as Silenceable).prefixes = undefined;
    const at = this.#made.indexOf(beat);
    if (this.#filled[at] !== this.#revision) {
      this.#filled[at] = this.#revision;
      sources.fill(beat, model);
    }
    const isNews = this.#revision !== this.#toldAt;
    const isStale = this.#toldRevision > 0 && nowMs - this.#toldMs >= PREFIXES_EVERY_MS;
    if (isNews || isStale) this.#tellPrefixes(model, nowMs, isStale);
    publish(index, beat);
  }

  #tellPrefixes(model: ModelState, nowMs: number, isStale: boolean): void {
    const { sources, isOld } = this.#options;
    this.#toldAt = this.#revision;
    const revision = sources.cacheRevision();
    if (isOld || (revision === this.#toldRevision && !isStale)) return;
    this.#toldRevision = revision;
    this.#toldMs = nowMs;
    model.prefixes = create(PrefixDigestSchema, { blocks: sources.heldBlocks(PREFIXES_MAX) });
  }

  #make(): Heartbeat {
    const { region, edge, model, index, profile } = this.#options;
    const { hasGpu, watts, costPerHour } = profile;
    const beat = create(HeartbeatSchema, {
      ...{ region, edge, grpc: `sim:${index}`, http: `http://sim:${index}` },
      gpus: hasGpu ? [create(GpuStateSchema, { name: "simulated" })] : [],
      labels: create(EdgeLabelsSchema, { watts, costPerHour }),
      models: [create(ModelStateSchema, { model, prefixes: create(PrefixDigestSchema) })],
    });
    this.#made.push(beat);
    return beat;
  }
}
