// Which edges a region has and how they are, from their heartbeats and their trunks. No I/O: feed
// it what happened with the time, perform the changes that it returns.
//
// Two signs of life are weighed. The trunk answers pings, so it alone says that an edge can serve;
// the heartbeat says how loaded it is. An edge is out as soon as its trunk is down or silent. One
// whose heartbeats stop while those of others arrive is out too; when all stop, it is the channel
// that has failed, and the trunks alone decide: serving needs nobody above it.
import type { Heartbeat } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import { type EdgeId, edgeId } from "../../proto/ids.ts";
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

const unseenTrunk: TrunkSight = { state: "connecting", rttMs: 0, silentMs: 0 };

/** The state: only the functions below change it. */
export class Membership {
  readonly bounds: MembershipBounds;
  readonly members = new Map<EdgeId, Member>();
  /** When any edge's heartbeat last came. */
  lastBeatMs = -Infinity;

  constructor(bounds: MembershipBounds = defaultMembershipBounds) {
    this.bounds = bounds;
  }
}

/** Takes a heartbeat that was already checked for its form. */
export function takeBeat(state: Membership, heartbeat: Heartbeat, nowMs: number): BeatOutcome {
  const edge = edgeId(heartbeat.edge);
  const known = state.members.get(edge);
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
  const member: Member = {
    edge,
    heartbeat,
    beatMs: nowMs,
    trunk: isNew ? unseenTrunk : known.trunk,
    status: known?.status ?? "suspect",
    reason: known?.reason ?? "not connected yet",
    sinceMs: known?.sinceMs ?? nowMs,
  };
  state.members.set(edge, member);
  if (isNew) changes.push({ kind: known === undefined ? "joined" : "replaced", member });
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
  if (known === undefined) return [];
  const member = { ...known, trunk };
  state.members.set(edge, member);
  return judge(state, member, nowMs);
}

/** Lets time pass: silence makes edges suspect, then dead, then forgotten. */
export function passTime(state: Membership, nowMs: number): readonly MembershipChange[] {
  const changes: MembershipChange[] = [];
  for (const member of [...state.members.values()]) {
    changes.push(...judge(state, member, nowMs));
    const current = state.members.get(member.edge) ?? member;
    const over = current.status === "dead" || current.status === "leaving";
    if (over && nowMs - current.sinceMs >= state.bounds.forgetMs) {
      state.members.delete(current.edge);
      changes.push({ kind: "removed", member: current });
    }
  }
  return changes;
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

function judge(state: Membership, member: Member, nowMs: number): MembershipChange[] {
  const [status, reason] = verdict(state, member, nowMs);
  if (status === member.status && reason === member.reason) return [];
  const sinceMs = status === member.status ? member.sinceMs : nowMs;
  const next: Member = { ...member, status, reason, sinceMs };
  state.members.set(member.edge, next);
  return status === member.status ? [] : [{ kind: "status", member: next, from: member.status }];
}

function verdict(
  { bounds, lastBeatMs }: Membership,
  { heartbeat, beatMs, trunk }: Member,
  nowMs: number,
): [MemberStatus, string] {
  const suspectMs = bounds.suspectPeriods * bounds.periodMs;
  const channelQuiet = nowMs - lastBeatMs > suspectMs;
  const beating = nowMs - beatMs <= suspectMs || channelQuiet;
  const answering = trunk.state === "up" && trunk.silentMs <= bounds.trunkSilentMs;
  if (!answering && nowMs - beatMs > bounds.deadPeriods * bounds.periodMs) {
    return ["dead", "no heartbeat and no trunk"];
  }
  if (heartbeat.leaving) return ["leaving", "it is stopping"];
  if (trunk.state !== "up") return ["suspect", `its trunk is ${trunk.state}`];
  if (!answering) return ["suspect", "its trunk is silent"];
  if (!beating) return ["suspect", "its heartbeats stopped"];
  if (heartbeat.draining) return ["draining", "it is draining"];
  return ["ready", ""];
}
