// The heartbeats of one simulated edge, at the real pace, wherever one is more than the last again
// (heart-bank.ts). Objects are used again once nobody holds them.
import { create } from "@bufbuild/protobuf";
import { HeartbeatPace } from "../../../edge-node/heartbeat/heartbeat-pace.ts";
import { PREFIX_REPEAT_MS, PrefixNews } from "../../../edge-node/heartbeat/prefix-news.ts";
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
import type { HeartBank } from "./heart-bank.ts";
import type { SimProcess } from "./sim-process.ts";

const PREFIXES_MAX = 512;

/** A ModelState whose digest can be taken back. */
type Silenceable = { prefixes: ModelState["prefixes"] | undefined };

export interface HeartSources {
  /** Writes how the edge fares into the beat's model. */
  fill(beat: Heartbeat, model: ModelState): void;
  /** Counts changes of what its sequences hold. */
  cacheRevision(): number;
  heldBlocks(most: number): readonly number[];
}

export interface SimHeartOptions {
  readonly queue: EventQueue;
  readonly process: SimProcess;
  readonly bank: HeartBank;
  readonly index: number;
  readonly region: string;
  readonly edge: string;
  readonly model: string;
  readonly profile: Pick<EngineProfile, "hasGpu" | "watts" | "costPerHour">;
  /** An edge from before the heartbeat told of limits, percentiles and prefixes. */
  readonly isOld: boolean;
  readonly sources: HeartSources;
  readonly publish: (index: number, beat: Heartbeat) => void;
}

export class SimHeart {
  readonly #options: SimHeartOptions;
  #pace = new HeartbeatPace();
  #incarnation = 0n;
  #toldRevision = -1;
  #news = new PrefixNews();

  constructor(options: SimHeartOptions) {
    this.#options = options;
    options.bank.hearts[options.index] = this;
  }

  /** A new process begins to beat, after so long. */
  start(delayMs: number): void {
    const { queue, process, bank, index } = this.#options;
    this.#pace = new HeartbeatPace();
    this.#toldRevision = -1;
    this.#news = new PrefixNews();
    this.#incarnation = BigInt(Math.floor(process.wallMs));
    bank.sequence[index] = 0;
    bank.sentMs[index] = -Infinity;
    bank.tellMs[index] = Infinity;
    bank.changed(index);
    bank.schedule(index, queue.nowMs + delayMs);
  }

  stop(): void {
    const { bank, index } = this.#options;
    bank.nextMs[index] = Infinity;
  }

  /** Some figure is different now; no reason to hurry. */
  touched(): void {
    const { bank, index } = this.#options;
    bank.changed(index);
  }

  /** Something that beats tell is different now. */
  changed(): void {
    const { bank, index } = this.#options;
    bank.changed(index);
    if (bank.nextMs[index] === Infinity) return;
    this.#pace.sent(bank.sentMs[index]!);
    this.#pace.changed();
    const { dueMs } = this.#pace;
    if (dueMs < bank.nextMs[index]!) bank.schedule(index, dueMs);
  }

  /** It is time for one that is more than the last again. */
  due(): void {
    const { queue, process, bank, index } = this.#options;
    if (!process.isRunning) {
      bank.nextMs[index] = Infinity;
      if (process.state === "frozen") process.run(() => bank.schedule(index, queue.nowMs));
      return;
    }
    const beat = this.#write(queue.nowMs);
    bank.sentMs[index] = queue.nowMs;
    this.#pace.sent(queue.nowMs);
    bank.schedule(index, Math.min(this.#pace.dueMs, bank.regularMs(index)));
    this.#options.publish(index, beat);
  }

  #write(nowMs: number): Heartbeat {
    const { sources, bank, index } = this.#options;
    const beat = bank.free[index] ?? this.#make();
    bank.free[index] = null;
    bank.sequence[index]! += 1;
    beat.sequence = BigInt(bank.sequence[index]!);
    beat.incarnation = this.#incarnation;
    const model = beat.models[0]!;
    // An edge from before the heartbeat told of it.
    beat.routingRevision = this.#options.isOld ? 0 : bank.revision[index]!;
    if (bank.stale[index]! > 0) bank.stale[index]! -= 1;
    sources.fill(beat, model);
    // Not `delete`: that would make every later access of the object slow.
    (model as Silenceable).prefixes = undefined;
    this.#tellPrefixes(model, nowMs);
    return beat;
  }

  #tellPrefixes(model: ModelState, nowMs: number): void {
    const { sources, isOld, bank, index } = this.#options;
    if (isOld || sources.cacheRevision() === 0) return;
    const held = sources.heldBlocks(PREFIXES_MAX);
    const digest = this.#news.of(model.model, held, nowMs);
    if (digest !== undefined) {
      model.prefixes = digest;
      this.#toldRevision = sources.cacheRevision();
      bank.tellMs[index] = nowMs + PREFIX_REPEAT_MS;
    }
    // The next beats must not tell it once more, and must tell what came too soon after the last.
    if (digest !== undefined || sources.cacheRevision() !== this.#toldRevision) {
      bank.changed(index);
    }
  }

  #make(): Heartbeat {
    const { region, edge, model, index, profile } = this.#options;
    const { hasGpu, watts, costPerHour } = profile;
    return create(HeartbeatSchema, {
      ...{ region, edge, grpc: `sim:${index}`, http: `http://sim:${index}` },
      gpus: hasGpu ? [create(GpuStateSchema, { name: "simulated" })] : [],
      labels: create(EdgeLabelsSchema, { watts, costPerHour }),
      models: [create(ModelStateSchema, { model, prefixes: create(PrefixDigestSchema) })],
    });
  }
}
