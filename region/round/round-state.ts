// What a regional round is at a moment: the fold of its events. Each invited edge has a seat, and
// a seat is in exactly one bucket.
import assert from "node:assert/strict";
import {
  Bucket,
  type DeltaManifest,
  type Partial$ as Partial,
  type RoundOffer,
} from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import type { ScreeningReason } from "../../sync/delta/screening.ts";
import type { RoundEvent, TrainingStep } from "./round-event.ts";

export interface Refusal {
  readonly reason: ScreeningReason;
  readonly detail: string;
  readonly manifest: DeltaManifest;
}

export interface Seat {
  readonly edge: string;
  readonly bucket: Bucket;
  readonly reason: string;
  /** It said yes to the train command. */
  readonly accepted: boolean;
  /** Of the delta that was included, or carried over when the bucket is late. */
  readonly manifest: DeltaManifest | null;
  readonly refusals: readonly Refusal[];
  readonly step: number;
  readonly steps: number;
  /** Of the training steps so far. */
  readonly loss: number;
  /** Bytes of its delta that are here, of those that its manifest states. */
  readonly receivedBytes: number;
  readonly totalBytes: number;
  /** It was still at work when others had met the goal. */
  readonly surplus: boolean;
  /** A delta of it that came too late: how long after the round had closed. */
  readonly lateByMs: number | null;
}

/** open → closed (being summed) → done; then `taken` once the coordinator has it. */
export type RoundPhase = "open" | "closed" | "done";

export interface RoundState {
  readonly offer: RoundOffer;
  readonly openedMs: number;
  readonly phase: RoundPhase;
  /** When it closed; null while it is open. */
  readonly closedMs: number | null;
  readonly seats: ReadonlyMap<string, Seat>;
  readonly partial: Partial | null;
  /** Why there is no partial though done. */
  readonly reason: string;
  readonly taken: boolean;
}

export function foldRound(events: readonly RoundEvent[]): RoundState | null {
  return events.reduce<RoundState | null>(applyRoundEvent, null);
}

/** The state after an event. Requires `opened` first and only then. */
export function applyRoundEvent(state: RoundState | null, event: RoundEvent): RoundState {
  if (event.kind === "opened") {
    assert(state === null, "a round opens once");
    const { offer, atMs } = event;
    return {
      offer,
      openedMs: atMs,
      phase: "open",
      closedMs: null,
      seats: new Map(),
      partial: null,
      reason: "",
      taken: false,
    };
  }
  assert(state !== null, "a round opens before anything else");
  switch (event.kind) {
    case "closed":
      return {
        ...state,
        phase: "closed",
        closedMs: event.atMs ?? Number(state.offer.deadlineMs),
        seats: concludeAll(state.seats, event.why),
      };
    case "summed":
      return { ...state, phase: "done", partial: event.partial };
    case "abandoned":
      return { ...state, phase: "done", reason: event.reason };
    case "taken":
      return { ...state, taken: true };
    default:
      return withSeat(state, applyToSeat(state, event));
  }
}

export function applyTrainingStep(state: RoundState, { edge, ...step }: TrainingStep) {
  const seat = state.seats.get(edge);
  return seat ? withSeat(state, { ...seat, ...step }) : state;
}

/** Whether the seat's bucket is its last. */
export function isConcluded(seat: Seat): boolean {
  return seat.bucket !== Bucket.TRAINING;
}

export function includedSeats(state: RoundState): readonly Seat[] {
  return [...state.seats.values()].filter(({ bucket }) => bucket === Bucket.INCLUDED);
}

type SeatEvent = Extract<RoundEvent, { readonly edge: string }>;

function applyToSeat({ seats, closedMs }: RoundState, event: SeatEvent): Seat {
  const seat = seats.get(event.edge);
  if (event.kind === "invited" || event.kind === "impostor") {
    assert(seat === undefined, "an edge is invited once");
    const fresh = newSeat(event.edge);
    if (event.kind === "invited") return fresh;
    return { ...fresh, bucket: Bucket.QUARANTINED, reason: "key" };
  }
  assert(seat !== undefined, "only invited edges have a seat");
  if (event.kind === "refused") return refuse(seat, event);
  if (event.kind === "came-late") {
    return { ...seat, lateByMs: Math.max(0, event.atMs - (closedMs ?? event.atMs)) };
  }
  if (event.kind === "carried") {
    return { ...seat, manifest: event.manifest, reason: "came late; counts in a later round" };
  }
  assert(!isConcluded(seat), `${seat.edge} has concluded already`);
  switch (event.kind) {
    case "accepted":
      return { ...seat, accepted: true };
    case "declined":
      return { ...seat, bucket: Bucket.DECLINED, reason: event.reason };
    case "failed":
      return { ...seat, bucket: Bucket.FAILED, reason: event.reason };
    case "included":
      return { ...seat, bucket: Bucket.INCLUDED, manifest: event.manifest };
  }
}

function newSeat(edge: string): Seat {
  return {
    edge,
    bucket: Bucket.TRAINING,
    reason: "",
    accepted: false,
    manifest: null,
    refusals: [],
    step: 0,
    steps: 0,
    loss: 0,
    receivedBytes: 0,
    totalBytes: 0,
    surplus: false,
    lateByMs: null,
  };
}

/** A refusal concludes the seat only when the edge itself is to blame for it. */
function refuse(seat: Seat, event: Extract<RoundEvent, { readonly kind: "refused" }>): Seat {
  const { reason, detail, manifest } = event;
  const refusals = [...seat.refusals, { reason, detail, manifest }];
  if (!event.attributable || isConcluded(seat)) return { ...seat, refusals };
  return { ...seat, refusals, bucket: Bucket.QUARANTINED, reason };
}

type Closing = Extract<RoundEvent, { readonly kind: "closed" }>["why"];

function concludeAll(seats: ReadonlyMap<string, Seat>, why: Closing): ReadonlyMap<string, Seat> {
  return new Map([...seats].map(([edge, seat]) => [edge, concludeSeat(seat, why)]));
}

/** What becomes of a seat that is still open when the round closes. */
function concludeSeat(seat: Seat, why: Closing): Seat {
  if (isConcluded(seat)) return seat;
  if (why === "goal") {
    const reason = "the goal was met before its delta came";
    return { ...seat, bucket: Bucket.LATE, reason, surplus: true };
  }
  const refusal = seat.refusals.at(-1);
  if (refusal) return { ...seat, bucket: Bucket.QUARANTINED, reason: refusal.reason };
  if (!seat.accepted) {
    return { ...seat, bucket: Bucket.FAILED, reason: "no answer to the train command" };
  }
  const reason = why === "deadline" ? "no delta by the deadline" : `the round was ${why}`;
  return { ...seat, bucket: Bucket.LATE, reason };
}

function withSeat(state: RoundState, seat: Seat): RoundState {
  return { ...state, seats: new Map(state.seats).set(seat.edge, seat) };
}
