// What direct callers of this edge get: served here if it can be, through the region if not. A
// stream that breaks here goes on there, or here again once the engine is back.
//
// Only direct callers come this way. What the region sent is served by this edge's own admission
// and answered with the fault itself, so that the region chooses another edge, and no request goes
// in circles.
//
// Some requests are the region's from the start (`onlyElsewhere`): where a policy rules this edge
// out, and turns of a session, since the region keeps the conversation.
import { asFault, Fault } from "../../proto/fault.ts";
import type {
  EmbedRequest,
  GenerateRequest,
  ModelInfo,
  ScoreRequest,
} from "../../proto/gen/isthmus/v1/inference_pb.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Candidate, SourceHints, StreamView } from "../../runtime/continuation/candidate.ts";
import { type Continuation, createContinuation } from "../../runtime/continuation/continuation.ts";
import type { CallContext, InferenceBackend, OnEvent } from "../../runtime/inference/backend.ts";
import type { Trunk } from "../../runtime/trunk/trunk.ts";

/** What the escalation asks of the region's trunk. */
export type RegionTrunk = Pick<Trunk, "state" | "generate" | "embed" | "score">;

export interface EscalatingBackendOptions {
  readonly edge: string;
  readonly region: string;
  /** This edge's own serving, behind its admission. */
  readonly local: InferenceBackend;
  /** Why a request for the model can't be served here at present; null if it can be tried. */
  readonly localRefusal: (model: string) => Fault | null;
  /** Why a request must never be served here; null if it may. */
  readonly onlyElsewhere: (request: PlacedRequest) => Fault | null;
  /** Undefined for an edge on its own. */
  readonly trunk: RegionTrunk | undefined;
  readonly clock: Clock;
  /** What to expect of a stream that is served here. */
  readonly hints?: (request: GenerateRequest) => SourceHints;
  /** Told each time a request, or the rest of one, goes to the region. */
  readonly onEscalate?: (cause: string) => void;
}

/** A request as far as it says where it may be served. */
export type PlacedRequest = GenerateRequest | EmbedRequest | ScoreRequest;

const HERE = "here";
const REGION = "region";
/** When to come back to a region that can't be reached. */
const REGION_RETRY_MS = 1000;

type Call<T> = (backend: Pick<InferenceBackend, "embed" | "score">) => Promise<T>;

export class EscalatingBackend implements InferenceBackend {
  readonly #options: EscalatingBackendOptions;
  #relayed = 0;

  constructor(options: EscalatingBackendOptions) {
    this.#options = options;
  }

  generate: InferenceBackend["generate"] = async (request, context, onEvent) => {
    const elsewhere = this.#options.onlyElsewhere(request);
    if (elsewhere !== null) this.#needRegion(elsewhere);
    // Nobody else can help: say at once what a wait would only say later.
    const refusal = this.#options.localRefusal(request.model);
    if (refusal !== null && !this.#isRegionUp) throw this.#finalOf(refusal);
    const progress = { hasBegun: false };
    const relay: OnEvent = (event) => {
      progress.hasBegun = true;
      onEvent(event);
    };
    try {
      await this.#stream(progress, elsewhere).generate(request, context, relay);
    } catch (thrown) {
      throw thrown instanceof GivenUp ? thrown.original : thrown;
    }
  };

  embed: InferenceBackend["embed"] = (request, context) =>
    this.#once(request, (backend) => backend.embed(request, context));

  score: InferenceBackend["score"] = (request, context) =>
    this.#once(request, (backend) => backend.score(request, context));

  listModels(): readonly ModelInfo[] {
    return this.#options.local.listModels();
  }

  /** Requests of this edge's callers that the region serves now. */
  get relayed(): number {
    return this.#relayed;
  }

  get #isRegionUp(): boolean {
    return this.#options.trunk?.state === "up";
  }

  /** Faults: the rule itself for an edge on its own; `unavailable` while the region is away. */
  #needRegion(rule: Fault): void {
    if (this.#options.trunk === undefined) throw rule;
    if (this.#isRegionUp) return;
    const message = `${rule.message}; the region can't be reached now`;
    throw new Fault("unavailable", message, { retryAfterMs: REGION_RETRY_MS, cause: rule });
  }

  /** For an edge on its own, a model that isn't here is nowhere. */
  #finalOf(fault: Fault): Fault {
    if (fault.code !== "model-absent" || this.#options.trunk !== undefined) return fault;
    return new Fault("model-not-found", fault.message, { param: "model", cause: fault });
  }

  /** One stream's choice of where to go: here first, then the region, then here again. */
  #stream(progress: { readonly hasBegun: boolean }, elsewhere: Fault | null): Continuation {
    const { clock, edge, region, local, localRefusal, hints, onEscalate } = this.#options;
    let localFault: Fault | null = null;
    let regionFault: Fault | null = null;
    const remember = (fault: Fault): never => {
      localFault ??= fault;
      throw fault;
    };
    const here: Candidate = {
      key: HERE,
      edge,
      region,
      generate: (request, context, onEvent) =>
        local.generate(request, context, onEvent).catch((thrown) => remember(asFault(thrown))),
    };
    const pick = (excluded: ReadonlySet<string>, view: StreamView): Candidate | Fault | null => {
      const refusal = elsewhere ?? localRefusal(view.request.model);
      if (refusal === null && !excluded.has(HERE)) return { ...here, ...hints?.(view.request) };
      localFault ??= refusal;
      if (!this.#isRegionUp || excluded.has(REGION)) {
        // Where this edge was out of the question, only the region can say what is wrong.
        const told = elsewhere === null ? localFault : (regionFault ?? regionAway());
        return progress.hasBegun || told === null ? told : new GivenUp(told);
      }
      onEscalate?.(localFault?.code ?? "unavailable");
      return this.#regionCandidate((fault) => {
        regionFault = fault;
      });
    };
    return createContinuation({ pick, clock });
  }

  #regionCandidate(onFault: (fault: Fault) => void): Candidate {
    const { region, trunk } = this.#options;
    return {
      key: REGION,
      edge: "",
      region,
      generate: (request: GenerateRequest, context: CallContext, onEvent: OnEvent) =>
        this.#relay(() => trunk!.generate(request, context, onEvent)).catch((thrown) => {
          onFault(asFault(thrown));
          throw thrown;
        }),
    };
  }

  async #relay<T>(work: () => Promise<T>): Promise<T> {
    this.#relayed++;
    try {
      return await work();
    } finally {
      this.#relayed--;
    }
  }

  async #once<T>(request: PlacedRequest, call: Call<T>): Promise<T> {
    const { local, trunk, onlyElsewhere, onEscalate } = this.#options;
    const elsewhere = onlyElsewhere(request);
    if (elsewhere !== null) {
      this.#needRegion(elsewhere);
      onEscalate?.(elsewhere.code);
      return await this.#relay(() => call(trunk!));
    }
    try {
      return await call(local);
    } catch (thrown) {
      const fault = asFault(thrown);
      if (!fault.retriable) throw fault;
      if (trunk === undefined || !this.#isRegionUp) throw this.#finalOf(fault);
      onEscalate?.(fault.code);
      return await this.#relay(() => call(trunk)).catch((second: unknown) => {
        const regional = asFault(second);
        // The region's refusal is news only when it is final; "busy there too" is ours to tell.
        throw regional.retriable ? fault : regional;
      });
    }
  }
}

function regionAway(): Fault {
  const detail = { retryAfterMs: REGION_RETRY_MS };
  return new Fault("unavailable", "the region can't be reached now", detail);
}

/**
 * Ends a stream that has not begun. A continuation would wait for what may pass; the region did so
 * already, and a caller who has got nothing yet is better told to come back.
 */
class GivenUp extends Fault {
  readonly original: Fault;

  constructor(original: Fault) {
    super("overloaded", original.message, { cause: original });
    this.original = original;
  }
}
