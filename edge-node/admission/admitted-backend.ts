// An inference backend behind admission: each model's requests go through that model's slots and
// bounded queue before they reach the engine. How many of the slots are used follows what is
// measured (AdaptiveLimit).
import type { GenerateRequest, ModelInfo } from "../../proto/gen/isthmus/v1/inference_pb.ts";
import { Priority } from "../../proto/gen/isthmus/v1/inference_pb.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { CallContext, InferenceBackend } from "../../runtime/inference/backend.ts";
import { AdaptiveLimit, type LoadSample } from "./adaptive-limit.ts";
import { Admission } from "./admission.ts";
import type { AdmissionPriority } from "./admission-queue.ts";
import { InterruptibleCalls } from "./interruptible-calls.ts";

export interface AdmittedBackendOptions {
  readonly backend: InferenceBackend;
  /** How many requests the model takes at once; undefined when it is not served here. */
  readonly slotsOf: (model: string) => number | undefined;
  /** The least time from a slot to the first token; asked for requests that have a deadline. */
  readonly leastMsOf?: (request: GenerateRequest) => number;
  /** Most requests of one model that wait. */
  readonly queueMax: number;
  readonly clock: Clock;
  /** Called after every change of what is active or queued. */
  readonly onChange?: () => void;
}

export interface AdmissionLoad {
  readonly slots: number;
  /** How many of the slots are used at present. */
  readonly limit: number;
  readonly active: number;
  readonly queued: number;
  readonly queueMax: number;
}

/** What was measured of a model's streams since the last time. */
export type StreamSample = Omit<LoadSample, "waiting">;

/** What admission needs to know of a request. */
interface Wish {
  readonly model: string;
  readonly tenant: string;
  readonly priority: AdmissionPriority;
  readonly leastMs: number;
}

interface ModelAdmission {
  readonly admission: Admission;
  readonly limit: AdaptiveLimit;
}

export class AdmittedBackend implements InferenceBackend {
  readonly #options: AdmittedBackendOptions;
  readonly #admissions = new Map<string, ModelAdmission>();
  readonly #running = new InterruptibleCalls();
  #isDraining = false;

  constructor(options: AdmittedBackendOptions) {
    this.#options = options;
  }

  async generate(...[request, context, onEvent]: Parameters<InferenceBackend["generate"]>) {
    const { model, tenant } = request;
    const priority = priorityOf(request);
    const { leastMsOf } = this.#options;
    const leastMs = Number.isFinite(context.deadlineMs) ? (leastMsOf?.(request) ?? 0) : 0;
    await this.#run({ model, tenant, priority, leastMs }, context, (inner) =>
      this.#options.backend.generate(request, inner, onEvent),
    );
  }

  embed: InferenceBackend["embed"] = (request, context) => {
    const { model, tenant } = request;
    return this.#run({ model, tenant, priority: "interactive", leastMs: 0 }, context, (inner) =>
      this.#options.backend.embed(request, inner),
    );
  };

  score: InferenceBackend["score"] = (request, context) => {
    const { model, tenant } = request;
    return this.#run({ model, tenant, priority: "batch", leastMs: 0 }, context, (inner) =>
      this.#options.backend.score(request, inner),
    );
  };

  listModels(): readonly ModelInfo[] {
    return this.#options.backend.listModels();
  }

  loadOf(model: string): AdmissionLoad {
    const { slotsOf, queueMax } = this.#options;
    const known = this.#admissions.get(model);
    const slots = slotsOf(model) ?? 0;
    return {
      slots,
      limit: Math.min(slots, known?.limit.limit ?? slots),
      active: known?.admission.active ?? 0,
      queued: known?.admission.queued ?? 0,
      queueMax,
    };
  }

  /** Requests that have a slot or wait for one, all models together. */
  get inFlight(): number {
    let count = 0;
    for (const { admission } of this.#admissions.values()) {
      count += admission.active + admission.queued;
    }
    return count;
  }

  /** Lets each model's limit follow what was measured of its streams since the last time. */
  adapt(sampleOf: (model: string) => StreamSample): void {
    for (const [model, { admission, limit }] of this.#admissions) {
      admission.resize(limit.take({ ...sampleOf(model), waiting: admission.queued }));
    }
  }

  /** Refuses everything new, sends away what waits, resolves when the rest has ended. */
  async drain(): Promise<void> {
    this.#isDraining = true;
    const all = [...this.#admissions.values()];
    await Promise.all(all.map(({ admission }) => admission.drain()));
  }

  /** Takes requests again after a drain. */
  reopen(): void {
    this.#isDraining = false;
    for (const { admission } of this.#admissions.values()) admission.reopen();
  }

  /** Ends what is active with the fault `draining`, so that it goes on elsewhere. */
  interrupt(): void {
    this.#running.interrupt();
  }

  async #run<T>(
    { model, ...wish }: Wish,
    context: CallContext,
    work: (context: CallContext) => Promise<T>,
  ): Promise<T> {
    const admission = this.#admissionOf(model);
    // Without an admission the model isn't served here: the backend says how it is absent.
    if (admission === undefined) return await work(context);
    const { signal, deadlineMs } = context;
    return await admission.run({ ...wish, deadlineMs, signal }, () =>
      this.#running.run(context, work),
    );
  }

  #admissionOf(model: string): Admission | undefined {
    const slots = this.#options.slotsOf(model);
    let known = this.#admissions.get(model);
    if (slots === undefined) {
      const isIdle = known?.admission.active === 0 && known.admission.queued === 0;
      if (isIdle) this.#admissions.delete(model);
      return undefined;
    }
    if (known === undefined) {
      known = { admission: this.#openAdmission(model, slots), limit: new AdaptiveLimit({ slots }) };
      this.#admissions.set(model, known);
    }
    known.limit.resize(slots);
    known.admission.resize(known.limit.limit);
    return known.admission;
  }

  #openAdmission(model: string, slots: number): Admission {
    const { queueMax, clock, onChange } = this.#options;
    const bounds = { model, slots, queueMax, clock };
    const admission = new Admission(onChange === undefined ? bounds : { ...bounds, onChange });
    if (this.#isDraining) void admission.drain();
    return admission;
  }
}

function priorityOf(request: GenerateRequest): AdmissionPriority {
  return request.priority === Priority.BATCH ? "batch" : "interactive";
}
