// The decisions of a stream that survives its node: one caller's completion, made by one source
// after another. Feed it an input, perform the effects it returns, in order. No I/O, no time.
//
// The caller sees one `started`, every token once, one `finished`; or a fault. A source is left for
// another after a retriable fault, a gap, a silence that it can't explain, or a request from
// outside. Nothing of it shows before the first event; later the next source resumes from the ids
// and text delivered. While the first token is overdue a second source may race the first.
import { create } from "@bufbuild/protobuf";
import type { Fault } from "../../proto/fault.ts";
import {
  type Finished,
  type GenerateResponse,
  MoveSchema,
} from "../../proto/gen/isthmus/v1/inference_pb.ts";
import { acceptFinalText, acceptTokens, cursorAtEnd } from "./delivery.ts";
import { finalEvent } from "./final-event.ts";
import { onwardRequest } from "./onward-request.ts";
import {
  beginSilence,
  breakSilence,
  judgeAnswer,
  type SilenceVerdict,
  tickSilence,
} from "./silence.ts";
import { deadEnd, endedEarly, lost, noSource, staged } from "./stream-faults.ts";
import type { Picked, StreamEffect, StreamInput } from "./stream-protocol.ts";
import type { Source, StreamState } from "./stream-state.ts";

export type { StreamEffect, StreamInput } from "./stream-protocol.ts";

/** Takes one input and says what to do. Inputs of a source that was left are ignored. */
export function advance(state: StreamState, input: StreamInput): StreamEffect[] {
  if (state.phase === "settled") return [];
  switch (input.kind) {
    case "event":
      return withSource(state, input.attempt, (source) => onEvent(state, source, input.event));
    case "begin":
      return choose(state);
    case "picked":
      return open(state, input);
    case "nowhere":
      return nowhere(state, input.fault);
    case "failed":
      return withSource(state, input.attempt, (source) => leave(state, source, input.fault));
    case "ended":
      return withSource(state, input.attempt, (source) => leave(state, source, endedEarly()));
    case "waited":
      state.excluded.clear();
      return choose(state);
    case "tick":
      return tick(state);
    case "answered":
      return withSource(state, input.attempt, (source) =>
        obey(state, source, judgeAnswer(source.silence, input.answer, state.bounds.silence)),
      );
    case "overdue":
      return withSource(state, input.attempt, (source) => hedge(state, source));
    case "move-away":
      return state.sources
        .filter(({ key }) => key === input.key)
        .flatMap((source) => cut(state, source, lost(input.reason)));
    case "stopped":
      return settle(state, input.fault);
  }
}

function withSource(
  state: StreamState,
  attempt: number,
  act: (source: Source) => StreamEffect[],
): StreamEffect[] {
  const source = state.sources.find((one) => one.attempt === attempt);
  return source === undefined ? [] : act(source);
}

function choose(state: StreamState): StreamEffect[] {
  state.phase = "choosing";
  // A choice that was asked for as a hedge serves as well when the first source is lost meanwhile.
  return state.isPicking ? [] : pick(state, false);
}

function pick(state: StreamState, isHedge: boolean): StreamEffect[] {
  state.isPicking = true;
  const taken = state.sources.map(({ key }) => key);
  return [{ kind: "pick", excluded: new Set([...state.excluded, ...taken]), isHedge }];
}

function open(state: StreamState, { key, edge, region = "", ...hints }: Picked): StreamEffect[] {
  state.isPicking = false;
  const isHedge = state.sources.length > 0;
  // The first token came while a second source was being chosen.
  if (isHedge && !isOverdue(state)) return [];
  state.phase = "open";
  state.attempt += 1;
  if (isHedge) state.hedges += 1;
  const { attempt } = state;
  state.sources.push({
    attempt,
    key,
    isHedge,
    hints,
    cursor: cursorAtEnd(state.delivery),
    silence: beginSilence(hints, state.bounds.silence),
    edge,
    region,
    held: null,
    started: null,
    tokens: 0,
  });
  const effects: StreamEffect[] = [
    { kind: "open", attempt, request: onwardRequest(state), isHedge },
  ];
  const { hedgeAfterMs } = hints;
  if (!isHedge && hedgeAfterMs !== undefined && state.hedges < state.bounds.hedgesMax) {
    effects.push({ kind: "hedge-after", attempt, delayMs: hedgeAfterMs });
  }
  return effects;
}

/** One source is at work, and has delivered nothing so far. */
function isOverdue({ sources }: StreamState): boolean {
  return sources.length === 1 && sources[0]!.tokens === 0;
}

function hedge(state: StreamState, source: Source): StreamEffect[] {
  const { hedges, bounds, isPicking, attempt } = state;
  if (isPicking || hedges >= bounds.hedgesMax || attempt >= bounds.attemptsMax) return [];
  return isOverdue(state) && !source.isHedge ? pick(state, true) : [];
}

function onEvent(state: StreamState, source: Source, response: GenerateResponse): StreamEffect[] {
  const { event } = response;
  switch (event.case) {
    case "tokens": {
      source.tokens += event.value.ids.length;
      breakSilence(source.silence, state.bounds.silence);
      const accepted = acceptTokens(state.delivery, source.cursor, response, event.value);
      if (accepted.kind === "broken") return cut(state, source, lost(accepted.reason));
      if (accepted.kind === "nothing") return [];
      state.fruitless = 0;
      state.waits = 0;
      return [...win(state, source), { kind: "emit", event: accepted.event }];
    }
    case "started":
      source.edge = event.value.edge || source.edge;
      source.region = event.value.region || source.region;
      source.started ??= event.value;
      if (state.started !== null || source.held !== null) return [];
      source.held = response;
      return mayRace(source) ? [] : begin(state, source);
    case "finished":
      return finish(state, source, response, event.value);
    default:
      return cut(state, source, lost("the source sent an event of no known kind"));
  }
}

/** Another source may win in its place. */
function mayRace({ hints, isHedge }: Source): boolean {
  return isHedge || hints.hedgeAfterMs !== undefined;
}

/** Tells the caller who serves. */
function begin(state: StreamState, source: Source): StreamEffect[] {
  if (source.held === null || state.started !== null) return [];
  const { held } = source;
  state.started = source.started;
  source.held = null;
  return [{ kind: "emit", event: held }];
}

/** This source delivers: it serves the stream, any other is sent away, and a move has succeeded. */
function win(state: StreamState, winner: Source): StreamEffect[] {
  const effects: StreamEffect[] = [];
  for (const loser of state.sources) {
    if (loser === winner) continue;
    const { promptTokens = 0, cachedTokens = 0 } = loser.started ?? {};
    state.hedgedTokens += Math.max(0, promptTokens - cachedTokens) + loser.tokens;
    effects.push({ kind: "abort", attempt: loser.attempt, fault: null });
  }
  if (effects.length > 0) state.sources = [winner];
  effects.push(...begin(state, winner));
  if (state.departure !== null) {
    const { edge: toEdge, region: toRegion } = winner;
    state.moves.push(create(MoveSchema, { ...state.departure, toEdge, toRegion }));
    state.departure = null;
    state.adriftTicks = 0;
  }
  return effects;
}

function finish(
  state: StreamState,
  source: Source,
  response: GenerateResponse,
  end: Finished,
): StreamEffect[] {
  const text = acceptFinalText(state.delivery, source.cursor, end.text);
  if (text === null) {
    return cut(state, source, lost("the source finished before what was delivered"));
  }
  const effects = win(state, source);
  state.sources = [];
  const event = finalEvent(state, response, end, text);
  return [...effects, { kind: "emit", event }, ...settle(state, null)];
}

function tick(state: StreamState): StreamEffect[] {
  if (state.departure !== null) state.adriftTicks += 1;
  return state.sources.flatMap((source) =>
    state.phase === "settled"
      ? []
      : obey(state, source, tickSilence(source.silence, state.bounds.silence)),
  );
}

function obey(state: StreamState, source: Source, verdict: SilenceVerdict): StreamEffect[] {
  if (verdict === "fine") return [];
  if (verdict === "ask") return [{ kind: "ask", attempt: source.attempt }];
  return cut(state, source, verdict);
}

function cut(state: StreamState, source: Source, fault: Fault): StreamEffect[] {
  return [{ kind: "abort", attempt: source.attempt, fault }, ...leave(state, source, fault)];
}

/** This source is done for: go elsewhere if the fault and the bounds allow it. */
function leave(state: StreamState, source: Source, fault: Fault): StreamEffect[] {
  state.sources = state.sources.filter((other) => other !== source);
  state.excluded.add(source.key);
  const isRacing = state.sources.length > 0;
  // The one that races on may succeed where a hedge was refused for good.
  if (!fault.retriable && !(isRacing && source.isHedge)) return settle(state, fault);
  if (isRacing) return [];
  state.lastFault = fault;
  // A stream that has begun comes back, within its waits, to sources that are full or could not be
  // reached: neither is a failure of theirs, and in a small mesh all of them are tried in no time.
  const isUnreached = fault.code === "link-lost" && source.started === null;
  const isNoFailure = fault.code === "overloaded" || isUnreached;
  if (state.started === null || !isNoFailure) state.fruitless += 1;
  const effects: StreamEffect[] = [];
  if (state.started !== null) {
    effects.push({ kind: "left", key: source.key, fault });
    state.departure ??= {
      atToken: state.delivery.ids.length,
      fromEdge: source.edge,
      fromRegion: source.region,
      cause: fault.code,
    };
  }
  const { fruitlessMax, attemptsMax } = state.bounds;
  const isSpent = state.fruitless >= fruitlessMax || state.attempt >= attemptsMax;
  if (isSpent || isAdriftTooLong(state))
    return [...effects, ...settle(state, deadEnd(state, fault))];
  return [...effects, ...choose(state)];
}

function isAdriftTooLong({ adriftTicks, bounds }: StreamState): boolean {
  return adriftTicks * bounds.silence.tickMs >= bounds.adriftMaxMs;
}

/** No source is there now. A begun stream waits for one; a new one only after a failure. */
function nowhere(state: StreamState, why: Fault | null): StreamEffect[] {
  state.isPicking = false;
  if (state.sources.length > 0) return []; // nobody to race with
  if (state.attempt === 0 && state.excluded.size > 0) {
    // There is only the one where whoever resumes was left: better than none.
    state.excluded.clear();
    return choose(state);
  }
  const begun = state.started !== null;
  // That the others are full is better to know than how the first one failed.
  const telling = !begun && why?.code === "overloaded" ? why : null;
  const fault = telling ?? state.lastFault ?? why ?? noSource();
  const waitable = begun || (state.attempt > 0 && fault.retriable && fault.code !== "overloaded");
  const { waitsMax, freshWaitsMax } = state.bounds;
  const isWaitOver = state.waits >= (begun ? waitsMax : freshWaitsMax) || isAdriftTooLong(state);
  if (!waitable || isWaitOver) return settle(state, deadEnd(state, fault));
  const { delayMs, delayMaxMs } = state.bounds;
  const delay = Math.max(delayMs * 2 ** state.waits, fault.retryAfterMs);
  state.waits += 1;
  state.phase = "waiting";
  return [{ kind: "wait", delayMs: Math.min(delay, delayMaxMs) }];
}

function settle(state: StreamState, fault: Fault | null): StreamEffect[] {
  const aborts = state.sources.map(
    ({ attempt }) => ({ kind: "abort", attempt, fault: null }) as const,
  );
  state.sources = [];
  state.phase = "settled";
  const told = fault === null ? null : staged(state, fault);
  return [...aborts, { kind: "settle", fault: told }];
}
