// Which edges a region has and how they are, from their heartbeats and their trunks. No I/O: feed
// it what happened with the time, perform the changes that it returns.
//
// Two signs of life are weighed. The trunk answers pings, so it alone says that an edge can serve;
// the heartbeat says how loaded it is. An edge is out as soon as its trunk is down or silent. One
// whose heartbeats stop while those of others arrive is out too; when all stop, it is the channel
// that has failed, and the trunks alone decide: serving needs nobody above it.
import type { Heartbeat } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import { type EdgeId, edgeId } from "../../proto/ids.ts";
import { DEADLINE_SLACK_MS, Deadlines } from "./deadlines.ts";
import type { Member, MemberStatus, TrunkSight } from "./member.ts";

export interface MembershipBounds {
  /** Between two heartbeats of an edge. */
  readonly periodMs: number;
  /** Missed periods after which an edge is suspect, and dead. */
  readonly suspectPeriods: number;
  readonly deadPeriods: number;
  /** A trunk that hasn't answered for so long makes its edge suspect before it is given up. */
  readonly trunkSilentMs: number;
  /** A dead or leaving edge is forgotten after so long. */
  readonly forgetMs: number;
  readonly edgesMax: number;
}

export const defaultMembershipBounds: MembershipBounds = {
  periodMs: 500,
  suspectPeriods: 3,
  deadPeriods: 8,
  trunkSilentMs: 1000,
  forgetMs: 60_000,
  edgesMax: 16_384,
};

export type MembershipChange =
  /** A new edge, or a new process or address of a known one: connect to it. */
  | { readonly kind: "joined"; readonly member: Member }
  | { readonly kind: "replaced"; readonly member: Member }
  | { readonly kind: "status"; readonly member: Member; readonly from: MemberStatus }
  | { readonly kind: "removed"; readonly member: Member };

export type BeatOutcome =
  | { readonly kind: "accepted"; readonly changes: readonly MembershipChange[] }
  | { readonly kind: "ignored"; readonly reason: string };

/** One event makes one new member; it is written only until it is stored. */
type Draft = { -readonly [K in keyof Member]: Member[K] };

const nothing: readonly MembershipChange[] = [];
const acceptedAsBefore: BeatOutcome = { kind: "accepted", changes: nothing };
const unseenTrunk: TrunkSight = { state: "connecting", rttMs: 0, silentMs: 0 };

/** The state: only the functions below change it. */
export class Membership {
  readonly bounds: MembershipBounds;
  readonly members = new Map<EdgeId, Member>();
  /** When any edge's heartbeat last came. */
  lastBeatMs = -Infinity;
  readonly deadlines = new Deadlines();

  constructor(bounds: MembershipBounds = defaultMembershipBounds) {
    this.bounds = bounds;
  }
}

/** Takes a heartbeat that was already checked for its form. */
export function takeBeat(state: Membership, heartbeat: Heartbeat, nowMs: number): BeatOutcome {
  const known = state.members.get(heartbeat.edge as EdgeId);
  if (known !== undefined && saysAsBefore(known, heartbeat)) {
    // By far the most frequent: a ready edge that stays so, checked no sooner than before.
    const member: Draft = known;
    member.heartbeat = heartbeat;
    member.beatMs = nowMs;
    state.lastBeatMs = nowMs;
    return acceptedAsBefore;
  }
  const edge = known?.edge ?? edgeId(heartbeat.edge);
  const stale = known === undefined ? "" : staleness(known, heartbeat);
  if (stale !== "") return { kind: "ignored", reason: stale };
  const changes: MembershipChange[] = [];
  if (known === undefined && state.members.size >= state.bounds.edgesMax) {
    const evicted = evictDead(state);
    if (evicted === undefined) {
      return { kind: "ignored", reason: `more than ${state.bounds.edgesMax} edges` };
    }
    changes.push({ kind: "removed", member: evicted });
  }
  state.lastBeatMs = nowMs;
  const isNew =
    known === undefined ||
    known.heartbeat.incarnation !== heartbeat.incarnation ||
    known.heartbeat.grpc !== heartbeat.grpc;
  if (!isNew) {
    // The member stays where it is.
    const member: Draft = known;
    member.heartbeat = heartbeat;
    member.beatMs = nowMs;
    return { kind: "accepted", changes: judge(state, member, nowMs) };
  }
  const member: Draft = {
    edge,
    heartbeat,
    beatMs: nowMs,
    trunk: unseenTrunk,
    status: known?.status ?? "suspect",
    reason: known?.reason ?? "not connected yet",
    sinceMs: known?.sinceMs ?? nowMs,
    checkMs: known?.checkMs ?? Infinity,
  };
  changes.push({ kind: known === undefined ? "joined" : "replaced", member });
  return { kind: "accepted", changes: [...changes, ...judge(state, member, nowMs)] };
}

/** Takes what the trunk to an edge shows now. */
export function takeTrunk(
  state: Membership,
  edge: EdgeId,
  trunk: TrunkSight,
  nowMs: number,
): readonly MembershipChange[] {
  const known = state.members.get(edge);
  return known === undefined ? nothing : judge(state, { ...known, trunk }, nowMs);
}

/** Lets time pass: silence makes edges suspect, then dead, then forgotten. */
export function passTime(state: Membership, nowMs: number): readonly MembershipChange[] {
  const changes: MembershipChange[] = [];
  for (const edge of state.deadlines.take(nowMs)) {
    const known = state.members.get(edge);
    // Its check was put off, or it is there twice.
    if (known === undefined || known.checkMs > nowMs + DEADLINE_SLACK_MS) continue;
    const member: Draft = { ...known, checkMs: Infinity };
    changes.push(...judge(state, member, nowMs));
    const isOver = member.status === "dead" || member.status === "leaving";
    if (!isOver || nowMs - member.sinceMs < state.bounds.forgetMs) continue;
    state.members.delete(edge);
    changes.push({ kind: "removed", member });
  }
  return changes;
}

/** Whether it is the next heartbeat of a ready edge, with nothing new in it. */
function saysAsBefore({ status, heartbeat: known }: Member, heartbeat: Heartbeat): boolean {
  return (
    status === "ready" &&
    heartbeat.routingRevision !== 0 &&
    heartbeat.routingRevision === known.routingRevision &&
    heartbeat.sequence > known.sequence &&
    heartbeat.incarnation === known.incarnation &&
    !heartbeat.leaving &&
    heartbeat.grpc === known.grpc
  );
}

/** Why a heartbeat is older than what is known, or empty. */
function staleness({ heartbeat: known, status }: Member, heartbeat: Heartbeat): string {
  // A process that ended for good leaves its name to any other, whatever the clocks say.
  const over = status === "dead" || (known.leaving && heartbeat.incarnation !== known.incarnation);
  if (heartbeat.incarnation < known.incarnation && !over) return "an older incarnation";
  if (heartbeat.incarnation === known.incarnation && heartbeat.sequence <= known.sequence) {
    return "an older sequence";
  }
  return "";
}

/** Forgets the edge that has been dead longest, if any is. */
function evictDead({ members }: Membership): Member | undefined {
  let oldest: Member | undefined;
  for (const member of members.values()) {
    if (member.status !== "dead") continue;
    if (oldest === undefined || member.sinceMs < oldest.sinceMs) oldest = member;
  }
  if (oldest !== undefined) members.delete(oldest.edge);
  return oldest;
}

/** Stores the member with its status; the change, if it is another than before. */
function judge(state: Membership, member: Draft, nowMs: number): readonly MembershipChange[] {
  const from = member.status;
  const [status, reason] = verdict(state, member, nowMs);
  member.reason = reason;
  if (status !== from) {
    member.status = status;
    member.sinceMs = nowMs;
  }
  const checkMs = nextCheckMs(state, member, nowMs);
  if (checkMs < member.checkMs) {
    member.checkMs = checkMs;
    state.deadlines.add(member.edge, checkMs);
  }
  state.members.set(member.edge, member);
  return status === from ? nothing : [{ kind: "status", member, from }];
}

type Verdict = readonly [MemberStatus, string];
const dead: Verdict = ["dead", "no heartbeat and no trunk"];
const leaving: Verdict = ["leaving", "it is stopping"];
const silent: Verdict = ["suspect", "its trunk is silent"];
const unheard: Verdict = ["suspect", "its heartbeats stopped"];
const draining: Verdict = ["draining", "it is draining"];
const ready: Verdict = ["ready", ""];

function verdict({ bounds, lastBeatMs }: Membership, member: Member, nowMs: number): Verdict {
  const { heartbeat, beatMs, trunk } = member;
  const suspectMs = bounds.suspectPeriods * bounds.periodMs;
  const channelQuiet = nowMs - lastBeatMs > suspectMs;
  const beating = nowMs - beatMs <= suspectMs || channelQuiet;
  const answering = isAnswering(bounds, trunk);
  if (!answering && nowMs - beatMs > bounds.deadPeriods * bounds.periodMs) return dead;
  if (heartbeat.leaving) return leaving;
  if (trunk.state !== "up") return ["suspect", `its trunk is ${trunk.state}`];
  if (!answering) return silent;
  if (!beating) return unheard;
  return heartbeat.draining ? draining : ready;
}

/** When time alone may next change the verdict on it, or forget it. */
function nextCheckMs({ bounds }: Membership, member: Member, nowMs: number): number {
  const { status, beatMs, sinceMs, trunk } = member;
  const forgetMs = sinceMs + bounds.forgetMs;
  if (status === "dead") return forgetMs;
  const suspectMs = beatMs + bounds.suspectPeriods * bounds.periodMs;
  const deadMs = beatMs + bounds.deadPeriods * bounds.periodMs;
  // A silent one that answers is as the others are: whether any heartbeats come at all.
  const waitMs = nowMs <= suspectMs ? suspectMs : isAnswering(bounds, trunk) ? nowMs : deadMs;
  return status === "leaving" ? Math.min(forgetMs, waitMs) : waitMs;
}

function isAnswering(bounds: MembershipBounds, { state, silentMs }: TrunkSight): boolean {
  return state === "up" && silentMs <= bounds.trunkSilentMs;
}
