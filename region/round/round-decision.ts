// Decides what happens in a regional round: a function of its state, what came in, and the time.
// It returns facts to log (and only then to believe) and effects to perform after that.
import type {
  DeltaManifest,
  Partial$ as Partial,
  TrainReply,
} from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import { Bucket } from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import type { Objection } from "../../sync/delta/screening.ts";
import { isCarried, mayBeCarried } from "./carried-deltas.ts";
import {
  type Candidate,
  INVITE_WINDOW_MS,
  invitationsOf,
  isGoalMet,
  mayStillStart,
  seatsOpen,
} from "./invitation.ts";
import type { RoundEvent } from "./round-event.ts";
import { applyRoundEvent, includedSeats, isConcluded, type RoundState } from "./round-state.ts";

/** How long a round waits for a first edge before it is abandoned. */
export const FIRST_EDGE_WAIT_MS = 15_000;
/** Refusals of one seat that are kept; more are answered and counted, but not stored. */
export const REFUSALS_MAX = 8;
const REASON_LENGTH_MAX = 300;

export type RoundInput =
  | { readonly kind: "tick"; readonly candidates: readonly Candidate[] }
  | { readonly kind: "reply"; readonly edge: string; readonly reply: TrainReply }
  | { readonly kind: "failure"; readonly edge: string; readonly reason: string }
  | { readonly kind: "delta"; readonly edge: string; readonly manifest: DeltaManifest }
  | {
      readonly kind: "objection";
      readonly edge: string;
      readonly manifest: DeltaManifest;
      readonly objection: Objection;
    }
  /** A delta came, and was told that it is late. */
  | { readonly kind: "late"; readonly edge: string }
  | { readonly kind: "summed"; readonly partial: Partial }
  /** The included deltas can't be summed: a disk lost them. */
  | { readonly kind: "unsummable"; readonly reason: string }
  | { readonly kind: "supersede"; readonly by: number }
  | { readonly kind: "take" };

export type RoundEffect =
  /** Tell the edge to train, until it has answered. */
  | { readonly kind: "command"; readonly edge: string }
  | { readonly kind: "sum" }
  | { readonly kind: "count-late"; readonly edge: string }
  | { readonly kind: "publish" };

export interface RoundDecision {
  readonly events: readonly RoundEvent[];
  readonly effects: readonly RoundEffect[];
}

/** Decides on one input. */
export function decideRound(state: RoundState, input: RoundInput, nowMs: number): RoundDecision {
  const events: RoundEvent[] = [];
  let next = state;
  const happen = (...more: readonly RoundEvent[]) => {
    for (const event of more) {
      next = applyRoundEvent(next, event);
      events.push(event);
    }
  };
  // The deadline comes first: what arrives after it is late, whatever the timers did.
  happen(...eventsOfDeadline(next, nowMs));
  happen(...eventsOfInput(next, input, nowMs));
  happen(...eventsOfCompletion(next, input, nowMs));
  const effects: RoundEffect[] = [];
  for (const event of events) {
    if (event.kind === "invited") effects.push({ kind: "command", edge: event.edge });
    if (event.kind === "came-late") effects.push({ kind: "count-late", edge: event.edge });
  }
  if (state.phase === "open" && next.phase === "closed") effects.push({ kind: "sum" });
  if (events.length > 0) effects.push({ kind: "publish" });
  return { events, effects };
}

/** What is still to be done for a round that was read back from its log. */
export function resumeRound(state: RoundState): readonly RoundEffect[] {
  if (state.phase === "closed") return [{ kind: "sum" }];
  if (state.phase === "done") return state.taken ? [] : [{ kind: "publish" }];
  return [...state.seats.values()]
    .filter((seat) => !isConcluded(seat))
    .map(({ edge }) => ({ kind: "command" as const, edge }));
}

/** What to tell an edge that wants to hand in a delta. */
export type Admission =
  | "welcome"
  /** The same delta was taken before. */
  | "duplicate"
  | "late"
  /** Its seat is concluded in another way. */
  | "conflict"
  | "quarantined"
  | "not-invited";

export function admitDelta(
  state: RoundState,
  edge: string,
  deltaSha256: string,
  nowMs: number,
): Admission {
  const seat = state.seats.get(edge);
  if (!seat) return "not-invited";
  if (seat.bucket === Bucket.INCLUDED || isCarried(seat)) {
    return seat.manifest?.delta?.sha256 === deltaSha256 ? "duplicate" : "conflict";
  }
  if (seat.bucket === Bucket.QUARANTINED) return "quarantined";
  if (mayBeCarried(state, seat)) return "welcome";
  if (seat.bucket === Bucket.LATE || isPastDeadline(state, nowMs)) return "late";
  if (state.phase !== "open") return "late";
  return seat.bucket === Bucket.TRAINING ? "welcome" : "conflict";
}

function isPastDeadline({ offer }: RoundState, nowMs: number): boolean {
  return nowMs >= Number(offer.deadlineMs);
}

function eventsOfDeadline(state: RoundState, nowMs: number): readonly RoundEvent[] {
  if (state.phase !== "open") return [];
  if (isPastDeadline(state, nowMs)) return [closing("deadline", nowMs)];
  const waitedForNobody = state.seats.size === 0 && nowMs >= state.openedMs + FIRST_EDGE_WAIT_MS;
  return waitedForNobody ? [closing("complete", nowMs)] : [];
}

function closing(why: Extract<RoundEvent, { kind: "closed" }>["why"], atMs: number): RoundEvent {
  return { kind: "closed", why, atMs };
}

function eventsOfInput(state: RoundState, input: RoundInput, nowMs: number): readonly RoundEvent[] {
  switch (input.kind) {
    case "tick":
      return invitationsOf(state, input.candidates, nowMs);
    case "reply":
      return eventsOfReply(state, input.edge, input.reply);
    case "failure":
      return ifOpen(state, input.edge, {
        kind: "failed",
        edge: input.edge,
        reason: brief(input.reason),
      });
    case "delta": {
      const { edge, manifest } = input;
      const seat = state.seats.get(edge);
      if (seat && mayBeCarried(state, seat)) return [{ kind: "carried", edge, manifest }];
      return ifOpen(state, edge, {
        kind: "included",
        edge,
        manifest,
      });
    }
    case "objection":
      return eventsOfObjection(state, input.edge, input.manifest, input.objection);
    case "late":
      return eventsOfLateDelta(state, input.edge, nowMs);
    case "summed":
      return state.phase === "closed" ? [{ kind: "summed", partial: input.partial }] : [];
    case "unsummable":
      return state.phase === "closed" ? [{ kind: "abandoned", reason: brief(input.reason) }] : [];
    case "supersede":
      return eventsOfSuperseding(state, input.by, nowMs);
    case "take":
      return state.phase === "done" && !state.taken ? [{ kind: "taken" }] : [];
  }
}

/** The same answer may come again and again; a yes that turns into a no is a failure. */
function eventsOfReply(state: RoundState, edge: string, reply: TrainReply): readonly RoundEvent[] {
  const accepted = state.seats.get(edge)?.accepted === true;
  if (reply.accepted) return accepted ? [] : ifOpen(state, edge, { kind: "accepted", edge });
  const reason = brief(reply.reason);
  return ifOpen(state, edge, { kind: accepted ? "failed" : "declined", edge, reason });
}

function eventsOfObjection(
  state: RoundState,
  edge: string,
  manifest: DeltaManifest,
  objection: Objection,
): readonly RoundEvent[] {
  const seat = state.seats.get(edge);
  if (!seat || state.phase !== "open" || seat.refusals.length >= REFUSALS_MAX) return [];
  const detail = brief(objection.detail);
  return [{ kind: "refused", edge, manifest, ...objection, detail }];
}

/** Noted once an edge, and only for one whose place in the round has ended without a delta. */
function eventsOfLateDelta(state: RoundState, edge: string, atMs: number): readonly RoundEvent[] {
  const seat = state.seats.get(edge);
  const isLate = seat?.bucket === Bucket.LATE || seat?.bucket === Bucket.FAILED;
  if (state.phase === "open" || !isLate || seat.lateByMs !== null) return [];
  return [{ kind: "came-late", edge, atMs }];
}

function eventsOfSuperseding(state: RoundState, by: number, nowMs: number): readonly RoundEvent[] {
  if (state.taken) return [];
  const reason = `superseded by round ${by}`;
  if (state.phase === "done") return [{ kind: "taken" }];
  const closed = state.phase === "open" ? [closing("superseded", nowMs)] : [];
  return [...closed, { kind: "abandoned", reason }, { kind: "taken" }];
}

/** Closes a round in which everybody has concluded, and abandons a closed one without quorum. */
function eventsOfCompletion(
  state: RoundState,
  input: RoundInput,
  nowMs: number,
): readonly RoundEvent[] {
  if (state.phase === "open") {
    const why = isGoalMet(state) ? "goal" : "complete";
    if (why === "complete" && !isComplete(state, input, nowMs)) return [];
    const closed = closing(why, nowMs);
    return [closed, ...eventsOfCompletion(applyRoundEvent(state, closed), input, nowMs)];
  }
  if (state.phase !== "closed") return [];
  const included = includedSeats(state).length;
  const quorum = quorumOf(state);
  if (included >= quorum) return [];
  const reason =
    state.seats.size === 0
      ? "no edge was ready with the model"
      : `below quorum: ${included} of ${quorum} deltas`;
  return [{ kind: "abandoned", reason }];
}

/** All have concluded, and nobody else may come whom the quorum needs. */
function isComplete(state: RoundState, input: RoundInput, nowMs: number): boolean {
  const seats = [...state.seats.values()];
  if (seats.length === 0 || !seats.every(isConcluded)) return false;
  // Who is ready to take the place of one that dropped out, only a tick knows.
  const wantsMore = state.offer.goal > 0 && seatsOpen(state) > 0 && mayStillStart(state, nowMs);
  if (wantsMore && input.kind !== "tick") return false;
  const isWindowOver = nowMs >= state.openedMs + INVITE_WINDOW_MS;
  return isWindowOver || includedSeats(state).length >= quorumOf(state);
}

function quorumOf({ offer }: RoundState): number {
  return Math.max(1, offer.quorum);
}

function ifOpen(state: RoundState, edge: string, event: RoundEvent): readonly RoundEvent[] {
  const seat = state.seats.get(edge);
  return state.phase === "open" && seat && !isConcluded(seat) ? [event] : [];
}

function brief(reason: string): string {
  return reason.slice(0, REASON_LENGTH_MAX) || "no reason given";
}
