// One stream between its caller and the sources of the moment: the shell around continuation-core.
// It opens, asks and aborts sources, waits, and keeps the deadline.
import { asFault, Fault } from "../../proto/fault.ts";
import type { GenerateRequest, GenerateResponse } from "../../proto/gen/isthmus/v1/inference_pb.ts";
import type { Timer } from "../clock.ts";
import type { CallContext, OnEvent } from "../inference/backend.ts";
import { type Answer, Inquiry } from "../inference/inquiry.ts";
import type { Candidate, StreamView } from "./candidate.ts";
import type { ContinuationOptions } from "./continuation.ts";
import { advance } from "./continuation-core.ts";
import type { StreamEffect, StreamInput } from "./stream-protocol.ts";
import { type ContinuationBounds, createStream, type StreamState } from "./stream-state.ts";

export interface StreamCall {
  readonly request: GenerateRequest;
  readonly context: CallContext;
  readonly onEvent: OnEvent;
  readonly onSettled: (fault: Fault | null) => void;
}

/** A source that was opened and not given up. */
interface OpenSource {
  readonly abort: AbortController;
  readonly inquiry: Inquiry;
}

export class RunningStream {
  readonly #options: ContinuationOptions;
  readonly #call: StreamCall;
  readonly #state: StreamState;
  readonly #pending: StreamInput[] = [];
  readonly #sources = new Map<number, OpenSource>();
  readonly #timers = new Set<Timer>();
  readonly #onAbort = () => this.take({ kind: "stopped", fault: cancelled() });
  #busy = false;
  #picked: Candidate | null = null;

  constructor(options: ContinuationOptions & { bounds: ContinuationBounds }, call: StreamCall) {
    this.#options = options;
    this.#call = call;
    this.#state = createStream(call.request, options.bounds);
  }

  begin(): void {
    const { signal, deadlineMs, inquiry } = this.#call.context;
    if (signal.aborted) {
      this.#onAbort();
      return;
    }
    signal.addEventListener("abort", this.#onAbort, { once: true });
    inquiry?.answeredBy(() => this.#standing());
    if (Number.isFinite(deadlineMs)) {
      const leftMs = Math.max(0, deadlineMs - this.#options.clock.now());
      this.#after(leftMs, { kind: "stopped", fault: tooLate() });
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
        this.#pick(effect.excluded);
        break;
      case "open":
        if (effect.isHedge) this.#options.onHedge?.(this.#picked?.key ?? "");
        this.#open(effect.attempt, effect.request);
        break;
      case "abort":
        this.#sources.get(effect.attempt)?.abort.abort(effect.fault ?? undefined);
        this.#sources.delete(effect.attempt);
        break;
      case "wait":
        this.#after(effect.delayMs, { kind: "waited" });
        break;
      case "ask":
        this.#ask(effect.attempt);
        break;
      case "hedge-after":
        this.#after(effect.delayMs, { kind: "overdue", attempt: effect.attempt });
        break;
      case "left":
        this.#options.onMove?.(effect.key, effect.fault);
        break;
      case "settle":
        this.#settle(effect.fault);
        break;
    }
  }

  #emit(event: GenerateResponse): void {
    try {
      this.#call.onEvent(event);
    } catch (thrown) {
      this.#pending.push({ kind: "stopped", fault: asFault(thrown) });
    }
  }

  #pick(excluded: ReadonlySet<string>): void {
    const { request, context } = this.#call;
    const { delivery, attempt: attempts } = this.#state;
    const view: StreamView = { request, context, deliveredTokens: delivery.ids.length, attempts };
    const picked = this.#options.pick(excluded, view);
    if (picked === null || picked instanceof Fault) {
      this.#pending.push({ kind: "nowhere", fault: picked });
      return;
    }
    this.#picked = picked;
    const { key, edge, region, interTokenP99Ms, predictedTtftMs, hedgeAfterMs } = picked;
    this.#pending.push({
      kind: "picked",
      key,
      edge,
      region,
      ...(interTokenP99Ms === undefined ? {} : { interTokenP99Ms }),
      ...(predictedTtftMs === undefined ? {} : { predictedTtftMs }),
      ...(hedgeAfterMs === undefined ? {} : { hedgeAfterMs }),
    });
  }

  #open(attempt: number, request: GenerateRequest): void {
    const abort = new AbortController();
    const inquiry = new Inquiry();
    this.#sources.set(attempt, { abort, inquiry });
    const context: CallContext = { ...this.#call.context, signal: abort.signal, inquiry };
    const onEvent = (event: GenerateResponse) => this.take({ kind: "event", attempt, event });
    this.#picked?.generate(request, context, onEvent).then(
      () => this.take({ kind: "ended", attempt }),
      (thrown) => this.take({ kind: "failed", attempt, fault: asFault(thrown) }),
    );
  }

  #ask(attempt: number): void {
    const tell = (answer: Answer) => this.take({ kind: "answered", attempt, answer });
    this.#sources
      .get(attempt)
      ?.inquiry.ask()
      .then(tell, () => tell(null));
  }

  /** A relay is no worker: it answers for itself, since it watches its own source. */
  #standing(): Answer {
    const { phase, sources, departure } = this.#state;
    if (phase === "settled") return null;
    const isMoving = departure !== null || sources.length === 0;
    const hasSpoken = sources.some(({ tokens }) => tokens > 0);
    return { phase: hasSpoken && !isMoving ? "generating" : "waiting", silentMs: 0 };
  }

  #after(delayMs: number, input: StreamInput): void {
    const timer = this.#options.clock.after(delayMs, () => {
      this.#timers.delete(timer);
      this.take(input);
    });
    this.#timers.add(timer);
  }

  #settle(fault: Fault | null): void {
    this.#call.context.signal.removeEventListener("abort", this.#onAbort);
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
    this.#sources.clear();
    this.#call.onSettled(fault);
  }
}

function cancelled(): Fault {
  return new Fault("cancelled", "the caller no longer waits for the answer");
}

function tooLate(): Fault {
  return new Fault("deadline-exceeded", "the deadline passed before the answer was complete");
}
