// A simulated edge: the real admission in front of a simulated engine, a heart, and a process that
// can be killed, frozen and slowed.
import { AdaptiveLimit } from "../../../edge-node/admission/adaptive-limit.ts";
import {
  type AdmissionPriority,
  AdmissionQueue,
  type QueueChange,
} from "../../../edge-node/admission/admission-queue.ts";
import { InterTokenTimes } from "../../../edge-node/serving/inter-token-times.ts";
import { RemainingTokens, type TokenCount } from "../../../edge-node/serving/remaining-tokens.ts";
import { Fault } from "../../../proto/fault.ts";
import {
  FinishReason,
  type GenerateResponse,
  Priority,
} from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import {
  type Heartbeat,
  type ModelState,
  ModelStatus,
} from "../../../proto/gen/isthmus/v1/mesh_pb.ts";
import type { Answer } from "../../../runtime/inference/inquiry.ts";
import type { Random } from "../../../runtime/random.ts";
import type { Auditor } from "../audit/auditor.ts";
import type { EventQueue } from "../kernel/event-queue.ts";
import { type SimRequest, textOf, tokenAt } from "../workload/sim-request.ts";
import type { EngineProfile } from "./engine-profile.ts";
import type { HeartBank } from "./heart-bank.ts";
import type { Sabotage } from "./sabotage.ts";
import { type EngineJob, SimEngine } from "./sim-engine.ts";
import { SimHeart } from "./sim-heart.ts";
import { SimProcess } from "./sim-process.ts";
import type { ServedCall, SimService } from "./sim-service.ts";

/** Steps after which the adaptive limit gets its sample. */
const SAMPLE_STEPS = 8;

export interface SimEdgeOptions {
  readonly queue: EventQueue;
  readonly index: number;
  readonly name: string;
  readonly region: string;
  readonly model: string;
  readonly version: string;
  readonly profile: EngineProfile;
  readonly isOld: boolean;
  readonly stride: number;
  readonly sabotage: Sabotage;
  readonly random: Random;
  readonly auditor: Auditor;
  readonly requestOf: (call: ServedCall) => SimRequest;
  readonly publish: (index: number, beat: Heartbeat) => void;
  readonly bank: HeartBank;
}

interface EdgeCall {
  readonly id: number;
  readonly call: ServedCall;
  readonly request: SimRequest;
  readonly count: TokenCount;
  job: EngineJob | null;
}

export class SimEdge implements SimService {
  readonly process: SimProcess;
  readonly engine: SimEngine;
  readonly heart: SimHeart;
  readonly options: SimEdgeOptions;
  readonly #calls = new Map<number, EdgeCall>();
  readonly #interToken = new InterTokenTimes();
  readonly #remaining = new RemainingTokens();
  #admission!: AdmissionQueue;
  #limit!: AdaptiveLimit;
  #nextId = 1;
  #steps = 0;
  #expiryMs = Infinity;
  isDraining = false;

  constructor(options: SimEdgeOptions) {
    this.options = options;
    const { queue, profile, random, stride, index, region, name, model, isOld } = options;
    this.process = new SimProcess(queue, `${region}/${name}`, random() * 1e7);
    this.engine = new SimEngine({ queue, process: this.process, profile, random, stride });
    this.engine.onStep = (stepMs) => this.#stepped(stepMs);
    this.#begin();
    const sources = {
      fill: (beat: Heartbeat, state: ModelState) => this.#fill(beat, state),
      cacheRevision: () => this.engine.cacheRevision,
      heldBlocks: (most: number) => this.engine.heldBlocks(most),
    };
    this.heart = new SimHeart({
      ...{
        queue,
        process: this.process,
        index,
        region,
        edge: name,
        model,
        isOld,
        profile,
        sources,
      },
      ...{ publish: options.publish, bank: options.bank },
    });
  }

  get active(): number {
    return this.#admission.active;
  }

  get queued(): number {
    return this.#admission.queued;
  }

  serve(call: ServedCall): void {
    const { auditor, region, requestOf } = this.options;
    const request = requestOf(call);
    if (call.context.signal.aborted) return;
    auditor.reachedEdge(request, region);
    if (this.isDraining) {
      call.end(new Fault("draining", "this edge is stopping"));
      return;
    }
    const id = this.#nextId++;
    const nowMs = this.process.wallMs;
    const priority: AdmissionPriority =
      call.request.priority === Priority.BATCH ? "batch" : "interactive";
    const { deadlineMs } = call.context;
    const { tenant } = call.request;
    const ticket = { id, priority, tenant, deadlineMs, leastMs: 0 };
    const arrival = this.#admission.arrive(ticket, nowMs);
    if (arrival.kind === "rejected") {
      const { retryAfterMs } = arrival;
      call.end(new Fault("overloaded", `no slot: ${arrival.reason}`, { retryAfterMs }));
      return;
    }
    const delivered = call.request.resume?.ids.length ?? 0;
    const count = this.#remaining.begin(call.request.maxTokens, delivered);
    const taken: EdgeCall = { id, call, request, count, job: null };
    this.#calls.set(id, taken);
    call.context.signal.addEventListener("abort", () => this.#abandon(taken), { once: true });
    call.context.inquiry?.answeredBy(() => standingOf(taken));
    if (arrival.kind === "admitted") this.#start(taken);
    else {
      if (arrival.displaced !== null) this.#displace(arrival.displaced);
      this.#minded();
    }
    this.heart.changed();
  }

  kill(): void {
    this.process.kill();
    this.heart.stop();
    this.engine.reset();
    this.#begin();
  }

  /** A new process under the same name. */
  restart(bootMs: number): void {
    const { process, options } = this;
    options.queue.after(bootMs, () => {
      if (process.state !== "dead") return;
      process.start();
      this.isDraining = false;
      this.heart.start(options.random() * 100);
    });
  }

  /** The engine's own process dies; the edge lives and has another at once. */
  crashEngine(): void {
    if (!this.process.isRunning) return;
    this.engine.reset();
    // Each end lets a waiting one start: it is not among those that the crash ended.
    const atWork = [...this.#calls.values()].filter(({ job }) => job !== null);
    for (const taken of atWork) this.#end(taken, new Fault("engine-crashed", "the engine died"));
  }

  #begin(): void {
    const { slots, queueMax } = this.options.profile;
    for (const { count } of this.#calls.values()) count.end();
    this.#calls.clear();
    const { extraSlots = 0 } = this.options.sabotage;
    this.#admission = new AdmissionQueue({ slots: slots + extraSlots, queueMax });
    this.#limit = new AdaptiveLimit({ slots });
    this.#expiryMs = Infinity;
  }

  #start(taken: EdgeCall): void {
    const { call, request } = taken;
    const resumeAt = call.request.resume?.ids.length ?? 0;
    const { auditor, profile } = this.options;
    auditor.slotTaken(this.process.name, this.engine.active + 1, profile.slots);
    let position = resumeAt;
    taken.job = this.engine.start(request, resumeAt, {
      started: (cachedTokens) => call.emit(this.#startedEvent(request, cachedTokens)),
      tokens: (from, to) => {
        taken.count.add(to - position);
        position = to;
        call.emit(tokensEvent(request.id, from, to));
      },
      finished: () => {
        call.emit(finishedEvent(request));
        this.#end(taken, null);
      },
    });
    if (taken.job === null) this.#end(taken, new Fault("engine-crashed", "no sequence is free"));
  }

  #end(taken: EdgeCall, fault: Fault | null): void {
    if (!this.#calls.delete(taken.id)) return;
    taken.count.end();
    taken.call.end(fault);
    this.#apply(this.#admission.release(taken.id, this.process.wallMs));
    this.heart.changed();
  }

  #abandon(taken: EdgeCall): void {
    if (!this.#calls.delete(taken.id)) return;
    taken.count.end();
    if (taken.job === null) this.#admission.withdraw(taken.id);
    else {
      this.engine.cancel(taken.job);
      if (this.options.sabotage.keepsSlots) return;
      this.#apply(this.#admission.release(taken.id, this.process.wallMs));
    }
    this.heart.changed();
  }

  #displace(id: number): void {
    const taken = this.#calls.get(id);
    if (taken === undefined) return;
    this.#calls.delete(id);
    taken.count.end();
    const { retryAfterMs } = this.#admission;
    taken.call.end(new Fault("overloaded", "displaced", { stage: "evicted", retryAfterMs }));
  }

  #apply(change: QueueChange): void {
    for (const id of change.admitted) {
      const taken = this.#calls.get(id);
      if (taken !== undefined) this.#start(taken);
    }
    for (const id of change.evicted) {
      const taken = this.#calls.get(id);
      if (taken === undefined) continue;
      this.#calls.delete(id);
      taken.count.end();
      taken.call.end(
        new Fault("deadline-exceeded", "its deadline passed while it waited", { stage: "evicted" }),
      );
    }
    this.#minded();
  }

  /** Somebody has to look when the next deadline of a waiting one passes. */
  #minded(): void {
    const nextMs = this.#admission.nextDeadlineMs;
    if (!Number.isFinite(nextMs) || nextMs >= this.#expiryMs) return;
    this.#expiryMs = nextMs;
    const admission = this.#admission;
    this.process.clock.after(nextMs - this.process.wallMs, () => {
      if (admission !== this.#admission) return;
      this.#expiryMs = Infinity;
      this.#apply(admission.expire(this.process.wallMs));
    });
  }

  #stepped(stepMs: number): void {
    this.#interToken.add(stepMs);
    this.#steps += 1;
    this.heart.touched();
    if (this.#steps % SAMPLE_STEPS !== 0) return;
    const { active, queued } = this.#admission;
    const sample = { active, waiting: queued, tpotMs: stepMs, kvFree: 1 };
    const slots = this.#limit.take(sample) + (this.options.sabotage.extraSlots ?? 0);
    this.#apply(this.#admission.resize(slots, this.process.wallMs));
  }

  #fill(beat: Heartbeat, state: ModelState): void {
    const { version, profile, isOld } = this.options;
    const { active, queued } = this.#admission;
    beat.inFlight = active + queued;
    beat.draining = this.isDraining;
    state.version = version;
    state.status = ModelStatus.READY;
    state.slots = profile.slots;
    state.active = active;
    state.queued = queued;
    state.queueMax = profile.queueMax;
    state.prefillTokensPerS = this.engine.rates.prefill;
    state.decodeTokensPerS = this.engine.rates.decodePerStream;
    state.remainingTokensMean = active === 0 ? 0 : this.#remaining.mean;
    state.contextLength = 8192;
    if (isOld) return;
    state.concurrencyLimit = this.#limit.limit;
    state.prefilling = this.engine.reading;
    state.interTokenP99Ms = this.#interToken.quantile(0.99);
  }

  #startedEvent(request: SimRequest, cachedTokens: number): GenerateResponse {
    const { model, version, name, region } = this.options;
    return {
      $typeName: "isthmus.v1.GenerateResponse",
      event: {
        case: "started",
        value: {
          $typeName: "isthmus.v1.Started",
          ...{ model, version, edge: name, region, cachedTokens },
          promptTokens: request.promptTokens,
        },
      },
    };
  }
}

function standingOf({ job }: EdgeCall): Answer {
  if (job === null) return { phase: "waiting", silentMs: 0 };
  return { phase: job.left > 0 ? "reading" : "generating", silentMs: 0 };
}

function tokensEvent(request: number, from: number, to: number): GenerateResponse {
  const ids: number[] = [];
  let text = "";
  for (let index = from; index < to; index += 1) {
    const id = tokenAt(request, index);
    ids.push(id);
    text += textOf(id);
  }
  return {
    $typeName: "isthmus.v1.GenerateResponse",
    event: {
      case: "tokens",
      value: { $typeName: "isthmus.v1.Tokens", index: from, ids, text, logprobs: [] },
    },
  };
}

function finishedEvent({ promptTokens, outputTokens }: SimRequest): GenerateResponse {
  return {
    $typeName: "isthmus.v1.GenerateResponse",
    event: {
      case: "finished",
      value: {
        $typeName: "isthmus.v1.Finished",
        reason: FinishReason.STOP,
        ...{ stopSequence: "", promptTokens, completionTokens: outputTokens },
        ...{ cachedTokens: 0, moves: [], text: "", hedges: 0, hedgedTokens: 0 },
      },
    },
  };
}
