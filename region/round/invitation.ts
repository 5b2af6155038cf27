// Decides which edges a regional round invites, and when. With a goal it invites some more than
// the goal needs, and one more for each that drops out while there is time; without a goal,
// everyone. Edges that come back while the round is young enough are still asked. Pure.
import { Bucket } from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import type { RoundEvent } from "./round-event.ts";
import { includedSeats, type RoundState } from "./round-state.ts";

export const SEATS_MAX = 1_000;
/** How long a round waits for edges that are about to become ready. */
export const INVITE_WINDOW_MS = 3_000;
/** Share of a round's time after which a new edge could no longer finish. */
export const LATEST_START_SHARE = 0.5;
/** Edges told at once: when a whole region comes back, they are not all told in one breath. */
export const INVITES_PER_TICK_MAX = 64;
const OVER_SELECTION_DEFAULT = 1.3;

/** What an edge did in the rounds before. */
export interface Standing {
  /** Rounds in a row that it was asked for and left without a delta. */
  readonly missed: number;
  /** When the last round opened that has a delta of it; 0 when none has. */
  readonly includedMs: number;
}

/** An edge that is ready and holds the round's model. */
export interface Candidate {
  readonly edge: string;
  /** False when it shows another key than the one pinned for its name. */
  readonly keyMatches: boolean;
  /** Unset for one that was never asked. */
  readonly standing?: Standing;
}

export function goalOf({ offer }: RoundState): number {
  return offer.goal;
}

export function isGoalMet(state: RoundState): boolean {
  const goal = goalOf(state);
  return goal > 0 && includedSeats(state).length >= goal;
}

/** Seats that still want an edge. */
export function seatsOpen(state: RoundState): number {
  const left = SEATS_MAX - state.seats.size;
  const goal = goalOf(state);
  if (goal === 0) return left;
  const invited = Math.ceil(goal * (state.offer.overSelection || OVER_SELECTION_DEFAULT));
  const atWork = [...state.seats.values()].filter(({ bucket }) => {
    return bucket === Bucket.TRAINING || bucket === Bucket.INCLUDED;
  });
  return Math.min(left, Math.max(0, invited - atWork.length));
}

/** Whether an edge that starts now may finish; a round that nobody has joined waits for anyone. */
export function mayStillStart(state: RoundState, nowMs: number): boolean {
  if (state.phase !== "open") return false;
  const wholeMs = Number(state.offer.deadlineMs) - state.openedMs;
  // Masks are agreed among those who are there when the window closes.
  const share = state.offer.secureAggregation ? 0 : LATEST_START_SHARE;
  const latestMs = state.openedMs + Math.max(INVITE_WINDOW_MS, wholeMs * share);
  return nowMs < latestMs || state.seats.size === 0;
}

export function invitationsOf(
  state: RoundState,
  candidates: readonly Candidate[],
  nowMs: number,
): readonly RoundEvent[] {
  if (!mayStillStart(state, nowMs)) return [];
  const fresh = candidates.filter(({ edge }) => !state.seats.has(edge)).sort(inOrder);
  const impostors = fresh.filter(({ keyMatches }) => !keyMatches);
  const invited = fresh
    .filter(({ keyMatches }) => keyMatches)
    .slice(0, Math.min(INVITES_PER_TICK_MAX, seatsOpen(state)));
  return [
    ...invited.map(({ edge }) => ({ kind: "invited" as const, edge })),
    ...impostors
      .slice(0, SEATS_MAX - state.seats.size - invited.length)
      .map(({ edge }) => ({ kind: "impostor" as const, edge })),
  ];
}

/** Whoever missed fewer rounds goes first, then whoever waits longest for a turn, then by name. */
function inOrder(a: Candidate, b: Candidate): number {
  const missed = (a.standing?.missed ?? 0) - (b.standing?.missed ?? 0);
  if (missed !== 0) return missed;
  const waited = (a.standing?.includedMs ?? 0) - (b.standing?.includedMs ?? 0);
  if (waited !== 0) return waited;
  return a.edge < b.edge ? -1 : 1;
}
