// An inference backend behind admission: each model's requests go through that model's slots and
// bounded queue before they reach the engine.
import type { GenerateRequest, ModelInfo } from "../../proto/gen/isthmus/v1/inference_pb.ts";
import { Priority } from "../../proto/gen/isthmus/v1/inference_pb.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { CallContext, InferenceBackend } from "../../runtime/inference/backend.ts";
import { Admission } from "./admission.ts";
import type { AdmissionPriority } from "./admission-queue.ts";

export interface AdmittedBackendOptions {
  readonly backend: InferenceBackend;
  /** How many requests the model takes at once; undefined when it is not served here. */
  readonly slotsOf: (model: string) => number | undefined;
  /** Most requests of one model that wait. */
  readonly queueMax: number;
  readonly clock: Clock;
  /** Called after every change of what is active or queued. */
  readonly onChange?: () => void;
}

export interface AdmissionLoad {
  readonly slots: number;
  readonly active: number;
  readonly queued: number;
  readonly queueMax: number;
}

export class AdmittedBackend implements InferenceBackend {
  readonly #options: AdmittedBackendOptions;
  readonly #admissions = new Map<string, Admission>();
  #isDraining = false;

  constructor(options: AdmittedBackendOptions) {
    this.#options = options;
  }

  async generate(...[request, context, onEvent]: Parameters<InferenceBackend["generate"]>) {
    await this.#run(request.model, priorityOf(request), context, () =>
      this.#options.backend.generate(request, context, onEvent),
    );
  }

  embed: InferenceBackend["embed"] = (request, context) =>
    this.#run(request.model, "interactive", context, () =>
      this.#options.backend.embed(request, context),
    );

  score: InferenceBackend["score"] = (request, context) =>
    this.#run(request.model, "batch", context, () => this.#options.backend.score(request, context));

  listModels(): readonly ModelInfo[] {
    return this.#options.backend.listModels();
  }

  loadOf(model: string): AdmissionLoad {
    const { slotsOf, queueMax } = this.#options;
    const admission = this.#admissions.get(model);
    return {
      slots: slotsOf(model) ?? 0,
      active: admission?.active ?? 0,
      queued: admission?.queued ?? 0,
      queueMax,
    };
  }

  /** Requests that have a slot or wait for one, all models together. */
  get inFlight(): number {
    let count = 0;
    for (const { active, queued } of this.#admissions.values()) count += active + queued;
    return count;
  }

  /** Refuses everything new, sends away what waits, resolves when the rest has ended. */
  async drain(): Promise<void> {
    this.#isDraining = true;
    await Promise.all([...this.#admissions.values()].map((admission) => admission.drain()));
  }

  async #run<T>(
    model: string,
    priority: AdmissionPriority,
    context: CallContext,
    work: () => Promise<T>,
  ): Promise<T> {
    const admission = this.#admissionOf(model);
    // Without an admission the model isn't served here: the backend says how it is absent.
    if (admission === undefined) return await work();
    const { signal, deadlineMs } = context;
    return await admission.run({ priority, deadlineMs, signal }, work);
  }

  #admissionOf(model: string): Admission | undefined {
    const slots = this.#options.slotsOf(model);
    let admission = this.#admissions.get(model);
    if (slots === undefined) {
      if (admission?.active === 0 && admission.queued === 0) this.#admissions.delete(model);
      return undefined;
    }
    if (admission === undefined) {
      const { queueMax, clock, onChange } = this.#options;
      admission = new Admission({
        model,
        slots,
        queueMax,
        clock,
        ...(onChange === undefined ? {} : { onChange }),
      });
      if (this.#isDraining) void admission.drain();
      this.#admissions.set(model, admission);
    }
    admission.resize(slots);
    return admission;
  }
}

function priorityOf(request: GenerateRequest): AdmissionPriority {
  return request.priority === Priority.BATCH ? "batch" : "interactive";
}
