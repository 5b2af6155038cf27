// The decisions of a stream that survives its node: one caller's completion, made by one source
// after another. Feed it an input, perform the effects it returns, in order. No I/O, no time.
//
// The caller sees one `started`, every token once, one `finished`; or a fault. A source is left for
// another after a retriable fault, a gap, or a request from outside. Nothing of it shows before the
// first event; later the next source resumes from the ids and text delivered.
import { create } from "@bufbuild/protobuf";
import { Fault } from "../../proto/fault.ts";
import {
  type Finished,
  type GenerateRequest,
  GenerateRequestSchema,
  type GenerateResponse,
  GenerateResponseSchema,
  MoveSchema,
  ResumeSchema,
} from "../../proto/gen/isthmus/v1/inference_pb.ts";
import { acceptFinalText, acceptTokens, cursorAtEnd } from "./delivery.ts";
import type { StreamState } from "./stream-state.ts";

export type StreamInput =
  | { readonly kind: "begin" }
  | { readonly kind: "picked"; readonly key: string; readonly edge: string }
  | { readonly kind: "nowhere"; readonly fault: Fault | null }
  | { readonly kind: "event"; readonly attempt: number; readonly event: GenerateResponse }
  | { readonly kind: "failed"; readonly attempt: number; readonly fault: Fault }
  | { readonly kind: "ended"; readonly attempt: number }
  | { readonly kind: "waited" }
  | { readonly kind: "move-away"; readonly key: string; readonly reason: string }
  | { readonly kind: "stopped"; readonly fault: Fault };

export type StreamEffect =
  | { readonly kind: "pick" }
  | { readonly kind: "open"; readonly attempt: number; readonly request: GenerateRequest }
  | { readonly kind: "emit"; readonly event: GenerateResponse }
  | { readonly kind: "abort"; readonly attempt: number }
  | { readonly kind: "wait"; readonly delayMs: number }
  | { readonly kind: "settle"; readonly fault: Fault | null };

/** Takes one input and says what to do. Inputs of a source that was left are ignored. */
export function advance(state: StreamState, input: StreamInput): StreamEffect[] {
  if (state.phase === "settled") return [];
  switch (input.kind) {
    case "event":
      return isCurrent(state, input.attempt) ? onEvent(state, input.event) : [];
    case "begin":
      return choose(state);
    case "picked":
      return open(state, input.key, input.edge);
    case "nowhere":
      return nowhere(state, input.fault);
    case "failed":
      return isCurrent(state, input.attempt) ? leave(state, input.fault) : [];
    case "ended":
      return isCurrent(state, input.attempt) ? leave(state, endedEarly()) : [];
    case "waited":
      state.excluded.clear();
      return choose(state);
    case "move-away":
      return state.phase === "open" && state.key === input.key
        ? [abort(state), ...leave(state, lost(input.reason))]
        : [];
    case "stopped":
      return state.phase === "open"
        ? [abort(state), settle(state, input.fault)]
        : [settle(state, input.fault)];
  }
}

function isCurrent(state: StreamState, attempt: number): boolean {
  return state.phase === "open" && state.attempt === attempt;
}

function choose(state: StreamState): StreamEffect[] {
  state.phase = "choosing";
  return [{ kind: "pick" }];
}

function open(state: StreamState, key: string, edge: string): StreamEffect[] {
  state.phase = "open";
  state.key = key;
  state.edge = edge;
  state.attempt += 1;
  state.cursor = cursorAtEnd(state.delivery);
  return [{ kind: "open", attempt: state.attempt, request: requestOnward(state) }];
}

/** The caller's own request as long as nothing was delivered beyond it, else a resuming one. */
function requestOnward(state: StreamState): GenerateRequest {
  const { request, delivery } = state;
  const known = request.resume?.ids.length ?? 0;
  if (delivery.ids.length === known && delivery.textLength === (request.resume?.textLength ?? 0)) {
    return request;
  }
  const version = state.started?.version ?? request.resume?.version ?? "";
  const resume = create(ResumeSchema, {
    ids: delivery.ids.slice(),
    textLength: delivery.textLength,
    version,
  });
  return create(GenerateRequestSchema, { ...request, resume });
}

function onEvent(state: StreamState, response: GenerateResponse): StreamEffect[] {
  const { event } = response;
  switch (event.case) {
    case "tokens": {
      const accepted = acceptTokens(state.delivery, state.cursor, response, event.value);
      if (accepted.kind === "broken") return cut(state, accepted.reason);
      arrived(state, state.edge);
      if (accepted.kind === "nothing") return [];
      state.fruitless = 0;
      state.waits = 0;
      return [{ kind: "emit", event: accepted.event }];
    }
    case "started":
      state.edge = event.value.edge || state.edge;
      arrived(state, state.edge);
      if (state.started !== null) return [];
      state.started = event.value;
      return [{ kind: "emit", event: response }];
    case "finished":
      return finish(state, response, event.value);
    default:
      return cut(state, "the source sent an event of no known kind");
  }
}

/** The move that was under way has succeeded: somebody else is speaking. */
function arrived(state: StreamState, toEdge: string): void {
  if (state.departure === null) return;
  state.moves.push(create(MoveSchema, { ...state.departure, toEdge }));
  state.departure = null;
}

function finish(state: StreamState, response: GenerateResponse, end: Finished): StreamEffect[] {
  const text = acceptFinalText(state.delivery, state.cursor, end.text);
  if (text === null) return cut(state, "the source finished before what was delivered");
  arrived(state, state.edge);
  const completionTokens = state.delivery.ids.length;
  const untouched =
    state.moves.length === 0 &&
    end.completionTokens === completionTokens &&
    text.length === end.text.length;
  const event = untouched
    ? response
    : create(GenerateResponseSchema, {
        event: {
          case: "finished",
          value: {
            ...end,
            text,
            completionTokens,
            promptTokens: state.started?.promptTokens ?? end.promptTokens,
            cachedTokens: state.started?.cachedTokens ?? end.cachedTokens,
            moves: [...state.moves, ...end.moves].sort((a, b) => a.atToken - b.atToken),
          },
        },
      });
  return [{ kind: "emit", event }, settle(state, null)];
}

function cut(state: StreamState, reason: string): StreamEffect[] {
  return [abort(state), ...leave(state, lost(reason))];
}

/** The current source is done for: go elsewhere if the fault and the bounds allow it. */
function leave(state: StreamState, fault: Fault): StreamEffect[] {
  if (!fault.retriable) return [settle(state, fault)];
  state.lastFault = fault;
  // Being full is no failure; a stream that has begun comes back for a place, within its waits.
  if (state.started === null || fault.code !== "overloaded") state.fruitless += 1;
  state.excluded.add(state.key);
  if (state.started !== null && state.departure === null) {
    const atToken = state.delivery.ids.length;
    state.departure = { atToken, fromEdge: state.edge, cause: fault.code };
  }
  const { fruitlessMax, attemptsMax } = state.bounds;
  if (state.fruitless >= fruitlessMax || state.attempt >= attemptsMax) {
    return [settle(state, fault)];
  }
  return choose(state);
}

/** No source is there now. A begun stream waits for one; a new one only after a failure. */
function nowhere(state: StreamState, why: Fault | null): StreamEffect[] {
  const begun = state.started !== null;
  // That the others are full is better to know than how the first one failed.
  const telling = !begun && why?.code === "overloaded" ? why : null;
  const fault = telling ?? state.lastFault ?? why ?? noSource();
  const waitable = begun || (state.attempt > 0 && fault.retriable && fault.code !== "overloaded");
  const { waitsMax, freshWaitsMax } = state.bounds;
  if (!waitable || state.waits >= (begun ? waitsMax : freshWaitsMax)) {
    return [settle(state, fault)];
  }
  const { delayMs, delayMaxMs } = state.bounds;
  const delay = Math.max(delayMs * 2 ** state.waits, fault.retryAfterMs);
  state.waits += 1;
  state.phase = "waiting";
  return [{ kind: "wait", delayMs: Math.min(delay, delayMaxMs) }];
}

function abort(state: StreamState): StreamEffect {
  return { kind: "abort", attempt: state.attempt };
}

function settle(state: StreamState, fault: Fault | null): StreamEffect {
  state.phase = "settled";
  return { kind: "settle", fault: fault === null ? null : staged(state, fault) };
}

/** Once something was delivered, an ending fault interrupts the stream, whatever it said itself. */
function staged(state: StreamState, fault: Fault): Fault {
  if (state.started === null || fault.stage === "interrupted") return fault;
  const { code, message, retryAfterMs, param } = fault;
  return new Fault(code, message, { stage: "interrupted", retryAfterMs, param, cause: fault });
}

function lost(reason: string): Fault {
  return new Fault("link-lost", reason, { stage: "interrupted" });
}

function endedEarly(): Fault {
  return lost("the source ended the stream without finishing it");
}

function noSource(): Fault {
  return new Fault("unavailable", "nothing in reach can serve this request now");
}
