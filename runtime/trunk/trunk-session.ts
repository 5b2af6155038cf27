// The serving end of one trunk: starts and cancels completions, and gathers what they produce in
// one turn of the event loop into one message.
//
// A trunk is never paused for one reader. While the peer takes nothing, events wait here, bounded
// for each completion and in all; the completion that exceeds a bound is cancelled.
import { asFault, Fault } from "../../proto/fault.ts";
import type { GenerateRequest, GenerateResponse } from "../../proto/gen/isthmus/v1/inference_pb.ts";
import type {
  OpenRequest,
  OpenResponse,
  Submit,
  TrunkItem,
} from "../../proto/gen/isthmus/v1/trunk_pb.ts";
import { checkGenerate } from "../frontend/request-rules.ts";
import type { CallContext, InferenceBackend } from "../inference/backend.ts";
import { Inquiry } from "../inference/inquiry.ts";
import { HELD_MAX, HELD_PER_REQUEST_MAX, SUBMITTED_MAX, VISITED_MAX } from "./bounds.ts";
import { standingItem } from "./standing.ts";

interface Running {
  readonly id: number;
  readonly abort: AbortController;
  readonly inquiry: Inquiry;
  /** Events of this completion in the batch that is being gathered. */
  held: number;
  finished: boolean;
}

export interface TrunkSessionOptions {
  readonly backend: InferenceBackend;
  /** Sends one message; false means that the peer takes no more until `drained`. */
  readonly write: (response: OpenResponse) => boolean;
}

export class TrunkSession {
  readonly #options: TrunkSessionOptions;
  readonly #running = new Map<number, Running>();
  #items: TrunkItem[] = [];
  #pongNonce: number | null = null;
  #armed = false;
  #blocked = false;
  #closed = false;

  constructor(options: TrunkSessionOptions) {
    this.#options = options;
  }

  get inFlight(): number {
    return this.#running.size;
  }

  take({ message }: OpenRequest): void {
    switch (message.case) {
      case "submit":
        this.#submit(message.value);
        break;
      case "cancel":
        this.#cancel(message.value.id);
        break;
      case "ask":
        this.#ask(message.value.id);
        break;
      case "ping":
        this.#pongNonce = message.value.nonce;
        this.#arm();
        break;
    }
  }

  /** The peer reads again. */
  drained(): void {
    this.#blocked = false;
    this.#flush();
  }

  /** The peer is gone: nobody waits for anything. */
  close(): void {
    this.#closed = true;
    for (const running of this.#running.values()) running.abort.abort();
    this.#running.clear();
    this.#items = [];
  }

  #submit({ id, request, visitedRegions, requestId, choice, deadlineMs }: Submit): void {
    if (this.#running.has(id)) return; // answering twice would confuse the peer's accounts
    if (request === undefined) {
      this.#push(failureItem(id, new Fault("invalid-argument", "nothing was submitted")));
      return;
    }
    const refusal = this.#refusal(request, visitedRegions.length);
    if (refusal !== null) {
      this.#push(failureItem(id, refusal));
      return;
    }
    const abort = new AbortController();
    const inquiry = new Inquiry();
    const running: Running = { id, abort, inquiry, held: 0, finished: false };
    this.#running.set(id, running);
    const context: CallContext = {
      signal: abort.signal,
      inquiry,
      requestId,
      choice,
      visitedRegions,
      deadlineMs: deadlineMs > 0n ? Number(deadlineMs) : Infinity,
    };
    this.#options.backend
      .generate(request, context, (event) => this.#onEvent(running, event))
      .then(
        () => this.#settle(running, running.finished ? null : unfinished()),
        (thrown) => this.#settle(running, asFault(thrown)),
      );
  }

  #refusal(request: GenerateRequest, visited: number): Fault | null {
    try {
      checkGenerate(request);
    } catch (thrown) {
      return asFault(thrown);
    }
    if (visited > VISITED_MAX) return new Fault("invalid-argument", "too many visited regions");
    if (this.#running.size >= SUBMITTED_MAX) {
      return new Fault("overloaded", "too many requests on one trunk", { retryAfterMs: 1000 });
    }
    return null;
  }

  #cancel(id: number): void {
    const running = this.#running.get(id);
    if (running === undefined) return;
    this.#running.delete(id);
    running.abort.abort();
  }

  /** Of a completion that is over the peer has heard, or will before the answer. */
  #ask(id: number): void {
    const inquiry = this.#running.get(id)?.inquiry;
    if (inquiry === undefined) {
      this.#push(standingItem(id, null));
      return;
    }
    inquiry.ask().then(
      (answer) => this.#push(standingItem(id, answer)),
      () => this.#push(standingItem(id, null)),
    );
  }

  #onEvent(running: Running, event: GenerateResponse): void {
    if (this.#running.get(running.id) !== running) return;
    if (running.held >= HELD_PER_REQUEST_MAX || this.#items.length >= HELD_MAX) {
      this.#settle(running, tooSlow());
      running.abort.abort();
      return;
    }
    running.held += 1;
    running.finished ||= event.event.case === "finished";
    this.#push(eventItem(running.id, event));
  }

  /** The completion is over. After `finished` the peer needs no further word. */
  #settle(running: Running, fault: Fault | null): void {
    if (this.#running.get(running.id) !== running) return;
    this.#running.delete(running.id);
    if (fault !== null && !running.finished) this.#push(failureItem(running.id, fault));
  }

  #push(item: TrunkItem): void {
    if (this.#closed) return;
    this.#items.push(item);
    this.#arm();
  }

  #arm(): void {
    if (this.#armed || this.#blocked || this.#closed) return;
    this.#armed = true;
    setImmediate(() => {
      this.#armed = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#blocked || this.#closed) return;
    const items = this.#items;
    const nonce = this.#pongNonce;
    if (items.length === 0 && nonce === null) return;
    this.#items = [];
    this.#pongNonce = null;
    for (const { id } of items) {
      const running = this.#running.get(id);
      if (running !== undefined) running.held = 0;
    }
    const response: OpenResponse = { $typeName: "isthmus.v1.OpenResponse", items };
    if (nonce !== null) response.pong = { $typeName: "isthmus.v1.Ping", nonce };
    this.#blocked = !this.#options.write(response);
  }
}

function eventItem(id: number, value: GenerateResponse): TrunkItem {
  return { $typeName: "isthmus.v1.TrunkItem", id, outcome: { case: "event", value } };
}

function failureItem(id: number, fault: Fault): TrunkItem {
  const { code, message, param } = fault;
  const retryAfterMs = Math.ceil(fault.retryAfterMs);
  return {
    $typeName: "isthmus.v1.TrunkItem",
    id,
    outcome: {
      case: "failure",
      value: { $typeName: "isthmus.v1.Failure", code, message, retryAfterMs, param },
    },
  };
}

function unfinished(): Fault {
  return new Fault("internal", "the backend ended without finishing", { stage: "interrupted" });
}

function tooSlow(): Fault {
  return new Fault("slow-consumer", "events waited too long to be read", { stage: "interrupted" });
}
