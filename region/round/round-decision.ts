// Decides what happens in a regional round: a function of its state, what came in, and the time.
// It returns facts to log (and only then to believe) and effects to perform after that.
import type {
  DeltaManifest,
  Partial$ as Partial,
  TrainReply,
} from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import { Bucket } from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import type { Objection } from "../../sync/delta/screening.ts";
import type { RoundEvent } from "./round-event.ts";
import { applyRoundEvent, includedSeats, isConcluded, type RoundState } from "./round-state.ts";

/** How long edges that become ready are still invited. */
export const INVITE_WINDOW_MS = 3_000;
/** How long a round waits for a first edge before it is abandoned. */
export const FIRST_EDGE_WAIT_MS = 15_000;
export const SEATS_MAX = 1_000;
/** Refusals of one seat that are kept; more are answered and counted, but not stored. */
export const REFUSALS_MAX = 8;
const REASON_LENGTH_MAX = 300;

/** An edge that is ready and holds the round's model. */
export interface Candidate {
  readonly edge: string;
  /** False when it shows another key than the one pinned for its name. */
  readonly keyMatches: boolean;
}

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
  | { readonly kind: "summed"; readonly partial: Partial }
  /** The included deltas can't be summed: a disk lost them. */
  | { readonly kind: "unsummable"; readonly reason: string }
  | { readonly kind: "supersede"; readonly by: number }
  | { readonly kind: "take" };

export type RoundEffect =
  /** Tell the edge to train, until it has answered. */
  | { readonly kind: "command"; readonly edge: string }
  | { readonly kind: "sum" }
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
  happen(...eventsOfCompletion(next, nowMs));
  const effects: RoundEffect[] = [];
  for (const event of events) {
    if (event.kind === "invited") effects.push({ kind: "command", edge: event.edge });
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
  if (seat.bucket === Bucket.INCLUDED) {
    return seat.manifest?.delta?.sha256 === deltaSha256 ? "duplicate" : "conflict";
  }
  if (seat.bucket === Bucket.QUARANTINED) return "quarantined";
  if (seat.bucket === Bucket.LATE || isPastDeadline(state, nowMs)) return "late";
  if (state.phase !== "open") return "late";
  return seat.bucket === Bucket.TRAINING ? "welcome" : "conflict";
}

function isPastDeadline({ offer }: RoundState, nowMs: number): boolean {
  return nowMs >= Number(offer.deadlineMs);
}

function eventsOfDeadline(state: RoundState, nowMs: number): readonly RoundEvent[] {
  if (state.phase !== "open") return [];
  if (isPastDeadline(state, nowMs)) return [{ kind: "closed", why: "deadline" }];
  const waitedForNobody = state.seats.size === 0 && nowMs >= state.openedMs + FIRST_EDGE_WAIT_MS;
  return waitedForNobody ? [{ kind: "closed", why: "complete" }] : [];
}

function eventsOfInput(state: RoundState, input: RoundInput, nowMs: number): readonly RoundEvent[] {
  switch (input.kind) {
    case "tick":
      return eventsOfInvitation(state, input.candidates, nowMs);
    case "reply":
      return eventsOfReply(state, input.edge, input.reply);
    case "failure":
      return ifOpen(state, input.edge, {
        kind: "failed",
        edge: input.edge,
        reason: brief(input.reason),
      });
    case "delta":
      return ifOpen(state, input.edge, {
        kind: "included",
        edge: input.edge,
        manifest: input.manifest,
      });
    case "objection":
      return eventsOfObjection(state, input.edge, input.manifest, input.objection);
    case "summed":
      return state.phase === "closed" ? [{ kind: "summed", partial: input.partial }] : [];
    case "unsummable":
      return state.phase === "closed" ? [{ kind: "abandoned", reason: brief(input.reason) }] : [];
    case "supersede":
      return eventsOfSuperseding(state, input.by);
    case "take":
      return state.phase === "done" && !state.taken ? [{ kind: "taken" }] : [];
  }
}

function eventsOfInvitation(
  state: RoundState,
  candidates: readonly Candidate[],
  nowMs: number,
): readonly RoundEvent[] {
  const isWindowOpen = nowMs < state.openedMs + INVITE_WINDOW_MS || state.seats.size === 0;
  if (state.phase !== "open" || !isWindowOpen) return [];
  return candidates
    .filter(({ edge }) => !state.seats.has(edge))
    .sort((a, b) => (a.edge < b.edge ? -1 : 1))
    .slice(0, SEATS_MAX - state.seats.size)
    .map(({ edge, keyMatches }) => ({ kind: keyMatches ? "invited" : "impostor", edge }));
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

function eventsOfSuperseding(state: RoundState, by: number): readonly RoundEvent[] {
  if (state.taken) return [];
  const reason = `superseded by round ${by}`;
  if (state.phase === "done") return [{ kind: "taken" }];
  const closed: RoundEvent[] =
    state.phase === "open" ? [{ kind: "closed", why: "superseded" }] : [];
  return [...closed, { kind: "abandoned", reason }, { kind: "taken" }];
}

/** Closes a round in which everybody has concluded, and abandons a closed one without quorum. */
function eventsOfCompletion(state: RoundState, nowMs: number): readonly RoundEvent[] {
  if (state.phase === "open") {
    if (!isComplete(state, nowMs)) return [];
    const closing: RoundEvent = { kind: "closed", why: "complete" };
    return [closing, ...eventsOfCompletion(applyRoundEvent(state, closing), nowMs)];
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
function isComplete(state: RoundState, nowMs: number): boolean {
  const seats = [...state.seats.values()];
  if (seats.length === 0 || !seats.every(isConcluded)) return false;
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
