// Which of a region's instances has the duties that only one may have: what each of them believes,
// from what it has read and written in the region's KV. No I/O; the time is the instance's own.
//
// The holder writes its record again and again, and counts each writing from the moment at which it
// sent it. Another one takes the lease when it has seen the record unchanged for longer than that,
// counted from the moment at which it saw it first, which is later. So no clocks are compared, and
// there are never two holders while no clock runs faster than another by more than these allow.

/** What stands in the KV. */
export interface LeaseRecord {
  readonly instance: string;
  /** Unix milliseconds at which its process started. */
  readonly incarnation: number;
  /** How often the lease has changed hands. */
  readonly term: number;
  /** Unix milliseconds since which the region has had this lease: what its instances are as one. */
  readonly bornMs: number;
  /** Its own addresses: where others pass on what only it may do. */
  readonly http: string;
  readonly grpc: string;
  /** It has given the lease back. */
  readonly released: boolean;
}

export const leaseBounds = {
  /** Between two writings of the holder. */
  renewMs: 500,
  /** How long one writing holds. */
  holdMs: 2000,
  /** How long a record stands unchanged before another instance takes the lease. */
  takeMs: 2500,
} as const;

/** An instance that wants the lease. */
export interface Claimant {
  readonly instance: string;
  readonly incarnation: number;
  readonly http: string;
  readonly grpc: string;
  /** It was told of no other: it acts unless it sees one at work, with or without the KV. */
  readonly alone: boolean;
}

export interface LeaseState {
  readonly me: Claimant;
  /** The record as it was read or written last. */
  readonly record: LeaseRecord | null;
  /** Of the bucket, for that record; null when it must be read first. */
  readonly sequence: number | null;
  /** Of the last reading; another one means that somebody has written. */
  readonly seenSequence: number | null;
  readonly seenMs: number;
  /** When the last writing that stands was sent. */
  readonly sentMs: number;
  readonly heldUntilMs: number;
  /** When another instance was last seen to write. */
  readonly otherMs: number;
}

export type LeaseStep =
  | { readonly kind: "wait" }
  | { readonly kind: "read" }
  /** Write it over this sequence of the bucket, or not at all. */
  | { readonly kind: "write"; readonly record: LeaseRecord; readonly sequence: number };

export function startLease(me: Claimant): LeaseState {
  return {
    me,
    record: null,
    sequence: null,
    seenSequence: null,
    seenMs: -Infinity,
    sentMs: -Infinity,
    heldUntilMs: -Infinity,
    otherMs: -Infinity,
  };
}

/** What to do now. */
export function leaseStep(state: LeaseState, nowMs: number): LeaseStep {
  const { me, record, sequence, seenMs, sentMs } = state;
  if (sequence === null) return { kind: "read" };
  const take: LeaseStep = { kind: "write", record: taken(me, record), sequence };
  if (record === null || record.released) return take;
  if (isMine(state)) {
    if (nowMs - sentMs < leaseBounds.renewMs) return { kind: "wait" };
    return { kind: "write", record, sequence };
  }
  // A process before this one had the name: it is gone, or must go.
  if (record.instance === me.instance && record.incarnation < me.incarnation) return take;
  if (record.instance === me.instance) return { kind: "read" };
  return nowMs - seenMs > leaseBounds.takeMs ? take : { kind: "read" };
}

/** A reading came back at `nowMs`; `sequence` is 0 where nothing stands. */
export function afterReading(
  state: LeaseState,
  sequence: number,
  record: LeaseRecord | null,
  nowMs: number,
): LeaseState {
  if (sequence === state.seenSequence) return { ...state, sequence };
  const next = { ...state, record, sequence, seenSequence: sequence, seenMs: nowMs };
  if (isMine(next)) return next;
  const isAlive = state.seenSequence !== null && record !== null && !record.released;
  return { ...next, heldUntilMs: -Infinity, otherMs: isAlive ? nowMs : state.otherMs };
}

/** A writing that was sent at `sentMs` stands. */
export function afterWriting(
  state: LeaseState,
  sequence: number,
  record: LeaseRecord,
  sentMs: number,
): LeaseState {
  const heldUntilMs = record.released ? -Infinity : sentMs + leaseBounds.holdMs;
  const seen = { record, sequence, seenSequence: sequence, seenMs: sentMs };
  return { ...state, ...seen, sentMs, heldUntilMs };
}

/** A writing was refused, or nobody knows whether it stands. */
export function afterDoubt(state: LeaseState): LeaseState {
  return { ...state, sequence: null };
}

/** Whether this instance has the lease. */
export function holdsLease({ heldUntilMs }: LeaseState, nowMs: number): boolean {
  return nowMs < heldUntilMs;
}

/** Whether this instance may do what only one may do. */
export function mayAct(state: LeaseState, nowMs: number): boolean {
  if (holdsLease(state, nowMs)) return true;
  return state.me.alone && nowMs - state.otherMs > leaseBounds.takeMs;
}

/** Who has the lease, as far as is known here; null when nobody is known to. */
export function leaseHolder(state: LeaseState, nowMs: number): LeaseRecord | null {
  const { record, seenMs } = state;
  if (record === null || record.released) return null;
  if (isMine(state)) return holdsLease(state, nowMs) ? record : null;
  return nowMs - seenMs <= leaseBounds.takeMs ? record : null;
}

function isMine({ me, record }: LeaseState): boolean {
  return record?.instance === me.instance && record.incarnation === me.incarnation;
}

function taken(
  { instance, incarnation, http, grpc }: Claimant,
  before: LeaseRecord | null,
): LeaseRecord {
  const term = (before?.term ?? 0) + 1;
  const bornMs = before?.bornMs ?? incarnation;
  return { instance, incarnation, term, bornMs, http, grpc, released: false };
}
