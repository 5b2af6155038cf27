// Serves streams that survive their node, over any source of candidates. The shell around
// continuation-core: it opens and aborts sources, waits, and keeps the deadline.
import { asFault, Fault } from "../../proto/fault.ts";
import type { GenerateRequest, GenerateResponse } from "../../proto/gen/isthmus/v1/inference_pb.ts";
import type { Clock, Timer } from "../clock.ts";
import type { CallContext, OnEvent } from "../inference/backend.ts";
import type { Candidate, PickCandidate, StreamView } from "./candidate.ts";
import { advance, type StreamEffect, type StreamInput } from "./continuation-core.ts";
import {
  type ContinuationBounds,
  createStream,
  defaultBounds,
  type StreamState,
} from "./stream-state.ts";

export interface ContinuationOptions {
  readonly pick: PickCandidate;
  readonly clock: Clock;
  readonly bounds?: ContinuationBounds;
  /** Told each time a stream that had begun leaves a candidate; for logs and metrics. */
  readonly onMove?: (key: string, fault: Fault) => void;
}

export interface Continuation {
  /** As in InferenceBackend: settles once, after at most one `started` and one `finished`. */
  generate(request: GenerateRequest, context: CallContext, onEvent: OnEvent): Promise<void>;
  /** Cuts every stream that the candidate serves now; each resumes elsewhere at once. */
  moveAway(key: string, reason: string): void;
  /** Streams that have not settled. */
  readonly active: number;
}

export function createContinuation(options: ContinuationOptions): Continuation {
  const running = new Set<RunningStream>();
  return {
    get active() {
      return running.size;
    },
    generate(request, context, onEvent) {
      return new Promise<void>((resolve, reject) => {
        const settled = (fault: Fault | null) => {
          running.delete(stream);
          if (fault === null) resolve();
          else reject(fault);
        };
        const stream = new RunningStream(options, request, context, onEvent, settled);
        running.add(stream);
        stream.begin();
      });
    },
    moveAway(key, reason) {
      for (const stream of [...running]) stream.take({ kind: "move-away", key, reason });
    },
  };
}

/** One stream between its caller and the source of the moment. */
class RunningStream {
  readonly #options: ContinuationOptions;
  readonly #state: StreamState;
  readonly #context: CallContext;
  readonly #onEvent: OnEvent;
  readonly #settled: (fault: Fault | null) => void;
  readonly #pending: StreamInput[] = [];
  readonly #onAbort = () => this.take({ kind: "stopped", fault: cancelled() });
  #busy = false;
  #candidate: Candidate | null = null;
  #attempt: AbortController | null = null;
  #waiting: Timer | null = null;
  #deadline: Timer | null = null;

  constructor(
    options: ContinuationOptions,
    request: GenerateRequest,
    context: CallContext,
    onEvent: OnEvent,
    settled: (fault: Fault | null) => void,
  ) {
    this.#options = options;
    this.#state = createStream(request, options.bounds ?? defaultBounds);
    this.#context = context;
    this.#onEvent = onEvent;
    this.#settled = settled;
  }

  begin(): void {
    const { signal, deadlineMs } = this.#context;
    if (signal.aborted) {
      this.#onAbort();
      return;
    }
    signal.addEventListener("abort", this.#onAbort, { once: true });
    if (Number.isFinite(deadlineMs)) {
      const left = Math.max(0, deadlineMs - this.#options.clock.now());
      this.#deadline = this.#options.clock.after(left, () =>
        this.take({ kind: "stopped", fault: tooLate() }),
      );
    }
    this.take({ kind: "begin" });
  }

  /** Inputs that arrive while effects run wait their turn, so that effects keep their order. */
  take(input: StreamInput): void {
    if (this.#busy) {
      this.#pending.push(input);
      return;
    }
    this.#busy = true;
    for (let next: StreamInput | undefined = input; next; next = this.#pending.shift()) {
      for (const effect of advance(this.#state, next)) this.#perform(effect);
    }
    this.#busy = false;
  }

  #perform(effect: StreamEffect): void {
    switch (effect.kind) {
      case "emit":
        this.#emit(effect.event);
        break;
      case "pick":
        this.#pick();
        break;
      case "open":
        this.#open(effect.attempt, effect.request);
        break;
      case "abort":
        this.#attempt?.abort();
        break;
      case "wait":
        this.#waiting = this.#options.clock.after(effect.delayMs, () =>
          this.take({ kind: "waited" }),
        );
        break;
      case "settle":
        this.#settle(effect.fault);
        break;
    }
  }

  #emit(event: GenerateResponse): void {
    try {
      this.#onEvent(event);
    } catch (thrown) {
      this.#pending.push({ kind: "stopped", fault: asFault(thrown) });
    }
  }

  #pick(): void {
    const state = this.#state;
    if (state.departure !== null && state.lastFault !== null) {
      this.#options.onMove?.(state.key, state.lastFault);
    }
    const view: StreamView = {
      request: state.request,
      context: this.#context,
      deliveredTokens: state.delivery.ids.length,
    };
    const picked = this.#options.pick(state.excluded, view);
    if (picked === null || picked instanceof Fault) {
      this.#pending.push({ kind: "nowhere", fault: picked });
      return;
    }
    this.#candidate = picked;
    this.#pending.push({ kind: "picked", key: picked.key, edge: picked.edge });
  }

  #open(attempt: number, request: GenerateRequest): void {
    const abort = new AbortController();
    this.#attempt = abort;
    const context: CallContext = { ...this.#context, signal: abort.signal };
    const onEvent = (event: GenerateResponse) => this.take({ kind: "event", attempt, event });
    this.#candidate?.generate(request, context, onEvent).then(
      () => this.take({ kind: "ended", attempt }),
      (thrown) => this.take({ kind: "failed", attempt, fault: asFault(thrown) }),
    );
  }

  #settle(fault: Fault | null): void {
    this.#context.signal.removeEventListener("abort", this.#onAbort);
    this.#deadline?.cancel();
    this.#waiting?.cancel();
    this.#settled(fault);
  }
}

function cancelled(): Fault {
  return new Fault("cancelled", "the caller no longer waits for the answer");
}

function tooLate(): Fault {
  return new Fault("deadline-exceeded", "the deadline passed before the answer was complete");
}
